"""Files ⇄ volumes, label maps and surfaces."""
