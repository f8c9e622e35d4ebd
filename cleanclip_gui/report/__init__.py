"""Report: the claims of what was measured, a bundle of evidence, and the check of one."""
