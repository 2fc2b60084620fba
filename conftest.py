"""Loads the plugin that compares every page's stored outputs with new."""

pytest_plugins = ["tests.notebook_outputs"]
