"""What shows, outside the host, how long a log was; and how its beginning may go."""
