"""Why an engine ended, and whether it is started again."""
