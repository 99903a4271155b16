"""An engine's processes: started, owned, ended, found again."""
