complete --keep-order --exclusive --command shm-recv --arguments "(COMPLETE=fish shm-recv -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
