"""What a user would pick instead, each behind the calls that injectplan offers."""
