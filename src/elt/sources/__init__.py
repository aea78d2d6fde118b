"""Where data comes from: the port ``Source`` and its adapters."""
