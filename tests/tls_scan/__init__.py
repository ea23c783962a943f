"""TLS scanners against ``hauberk serve``: sslyze, testssl and tlsfuzzer, each a program of its own."""
