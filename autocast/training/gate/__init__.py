"""The sanity gate: checks of a model that take seconds, before a training that takes hours."""
