"""The peers: other proxies and plugin frameworks, measured beside hauberk in one run."""
