complete -c shm-recv -l name -d 'The segment\'s name, as in /dev/shm; a leading slash may be left out' -r
complete -c shm-recv -l width -d 'Take only frames of this width, in pixels' -r
complete -c shm-recv -l height -d 'Take only frames of this height, in pixels' -r
complete -c shm-recv -l channels -d 'Take only frames of this many channels: 1 gray, 3 BGR, 4 BGRA' -r
complete -c shm-recv -l count -d 'Stop after this many frames' -r
complete -c shm-recv -l timeout -d 'Fail when no new frame came for so long [default: wait for ever]' -r
complete -c shm-recv -l view -d 'Where to show frames' -r -f -a "auto\t'In a window if there is a display, else nowhere'
window\t'In a window; q or Esc ends'
none\t'Nowhere'"
complete -c shm-recv -l save -d 'Write each frame taken into this directory as a PNG, named by its number' -r -F
complete -c shm-recv -l json -d 'Print JSON, one object a line'
complete -c shm-recv -l quiet -d 'Print only the summary; with --json, all but frames'
complete -c shm-recv -s h -l help -d 'Print help (see more with \'--help\')'
complete -c shm-recv -s V -l version -d 'Print version'
