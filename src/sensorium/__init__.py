"""Sensorium: any columns in, any column out."""

__version__ = "0.1.0"
__all__ = ["InputError", "Limits", "Manner", "Matcher", "Model", "Prediction", "__version__", "load", "read"]

_HOMES = {
    "InputError": "types",
    "Limits": "types",
    "Prediction": "types",
    "Manner": "api",
    "Matcher": "api",
    "Model": "api",
    "load": "api",
    "read": "store",
}


def __getattr__(name: str):
    """Import the public names when they are first used, so that `import sensorium` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sensorium' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"sensorium.{_HOMES[name]}"), name)
