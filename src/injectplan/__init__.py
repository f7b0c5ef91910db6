"""injectplan: plan, rehearse and simulate ultrasound-guided injections.

For rehearsal, training and research; not a medical device; not for treating a patient.
"""

__version__ = "0.1.0"
