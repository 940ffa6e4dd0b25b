"""Looking at shards: statistics, contact sheets, and the page `socialcli inspect` makes."""
