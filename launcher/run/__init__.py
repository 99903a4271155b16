"""A command performed: a supervised process, its log, its readiness."""
