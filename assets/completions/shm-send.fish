complete --keep-order --exclusive --command shm-send --arguments "(COMPLETE=fish shm-send -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
