complete -c shm-send -s i -l image -d 'A picture, again and again; whatever OpenCV reads' -r -F
complete -c shm-send -l images -d 'Pictures in natural order, img2 before img10, one frame each: files, folders, or patterns like \'shots/*.png\'' -r -F
complete -c shm-send -l video -d 'A video file, at its own rate' -r -F
complete -c shm-send -l camera -d 'A camera, as fast as it gives frames: 0 is /dev/video0' -r -F
complete -c shm-send -l raw -d 'Frames of that many bytes from stdin, as they come: ffmpeg\'s rawvideo in gray, bgr24 or bgra' -r
complete -c shm-send -l size -d 'Size of the test picture [default: 640x404], or the one to ask the camera for' -r
complete -c shm-send -l channels -d 'What to convert frames to: 1 gray, 3 BGR, 4 BGRA' -r
complete -c shm-send -s f -l fps -d 'Frames per second, also to ask the camera for; 0 is as fast as it can [default: the source\'s own, else 30]' -r
complete -c shm-send -s c -l count -d 'Stop after this many frames' -r
complete -c shm-send -s n -l name -d 'The segment\'s name, as in /dev/shm; a leading slash may be left out' -r
complete -c shm-send -l slots -d 'Slots, 1 to 16; all but two can be leased, and 1 writes every frame where old programs look for it' -r
complete -c shm-send -l mode -d 'Permissions of the segment: 0644 lets other users receive' -r
complete -c shm-send -l loop -d 'Start pictures and videos over when they end'
complete -c shm-send -l replace -d 'Take the name over from a live sender'
complete -c shm-send -l show -d 'Show what is sent in a window; q or Esc ends'
complete -c shm-send -s j -l json -d 'Print JSON, one object a line'
complete -c shm-send -s q -l quiet -d 'Print only the summary; with --json, all but frames'
complete -c shm-send -s h -l help -d 'Print help'
complete -c shm-send -s V -l version -d 'Print version'
