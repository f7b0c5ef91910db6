"""The record of a rehearsal: JSON, and one self-contained HTML page with pictures."""
