complete -c shm-recv -s n -l name -d 'The segment\'s name, as in /dev/shm; a leading slash may be left out' -r
complete -c shm-recv -l width -d 'Take only frames of this width, in pixels' -r
complete -c shm-recv -l height -d 'Take only frames of this height, in pixels' -r
complete -c shm-recv -l channels -d 'Take only frames of this many channels: 1 gray, 3 BGR, 4 BGRA' -r
complete -c shm-recv -s c -l count -d 'Stop after this many frames' -r
complete -c shm-recv -s t -l timeout -d 'Fail if no new frame comes for this long [default: wait for ever]' -r
complete -c shm-recv -s w -l wait -d 'How to wait for a frame' -r -f -a "sleep\t'Sleep until the sender wakes this receiver'
predict\t'Sleep until shortly before a steady stream\'s next frame, then watch for it: at most 5 % of a processor'
spin\t'Watch all the time: a whole processor'"
complete -c shm-recv -s v -l view -d 'Where to show frames' -r -f -a "auto\t'In a window if there is a display, else in the terminal if stdout is one, else nowhere'
window\t'In a window: h hides the numbers, space freezes the picture, s saves it, q or Esc ends'
terminal\t'In the terminal: space freezes the picture, s saves it, q or Esc ends'
none\t'Nowhere'"
complete -c shm-recv -s s -l save -d 'Save each frame in this directory, as a PNG named by the frame\'s number' -r -F
complete -c shm-recv -s r -l record -d 'Record the frames, each at its own time: as a film, .mp4, .mkv or .avi; or exactly as they are, with all that is known of them, .mcap' -r -F
complete -c shm-recv -l compression -d 'How to pack the pixels of .mcap [default: zstd]' -r -f -a "zstd\t'Small files, for two thirds of a processor at 1080p and 30 frames a second'
lz4\t'Larger files, for half a processor'
none\t'As large as the pixels, for a third of a processor'"
complete -c shm-recv -l raw -d 'Write the pixels of each frame to stdout (-), and all text to stderr' -r -f -a "-\t''"
complete -c shm-recv -l plot -d 'Draw the delays at the end, over time and as a histogram: .svg or .png' -r -F
complete -c shm-recv -l read-only -d 'Open the segment for reading only, even if you may write it: the first frames are copied'
complete -c shm-recv -l lossless -d 'Record every pixel exactly, for .mkv: FFV1'
complete -c shm-recv -l log -d 'Print a line for each frame, on a terminal too'
complete -c shm-recv -s j -l json -d 'Print JSON, one object a line'
complete -c shm-recv -s q -l quiet -d 'Print only the summary; with --json, everything except frames'
complete -c shm-recv -s l -l list -d 'List the segments in /dev/shm and exit. Receivers that only copy are not counted'
complete -c shm-recv -l clean -d 'Remove the segments whose sender is dead, print their names, and exit'
complete -c shm-recv -s h -l help -d 'Print help (see more with \'--help\')'
complete -c shm-recv -s V -l version -d 'Print version'
