"""What an auditor measures: robustness, the filter against the truth, and figures."""
