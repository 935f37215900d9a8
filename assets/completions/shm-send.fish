complete -c shm-send -s i -l image -d 'A picture, again and again, in any format that OpenCV reads' -r -F
complete -c shm-send -l images -d 'Pictures in natural order, img2 before img10, one frame each: files, folders, or patterns like \'shots/*.png\'' -r -F
complete -c shm-send -l video -d 'A film at its own pace; - is stdin; with a protocol, as in `rtsp://HOST/PATH`, it comes over the network' -r -F
complete -c shm-send -l stream -d 'The stream of an .mcap file to send, if it has several: the name of its segment' -r
complete -c shm-send -l start -d 'Begin the film after so many seconds' -r
complete -c shm-send -l camera -d 'A camera, as fast as it delivers frames: 0 is /dev/video0; list shows all cameras with their formats, sizes and rates, and sends nothing' -r
complete -c shm-send -l raw -d 'Frames of this shape from stdin, as they come: ffmpeg\'s rawvideo in gray, bgr24, bgra, rgb24 (3:rgb) or gray16le (1:u16)' -r
complete -c shm-send -l size -d 'Size of the test picture [default: 640x404], or the size to ask the camera for' -r
complete -c shm-send -l channels -d 'Convert frames to this many channels: 1 gray, 3 BGR, 4 BGRA' -r
complete -c shm-send -l depth -d 'Convert pictures and films to 8 bits, and say how. Without this they keep their depth' -r -f -a "8\t''"
complete -c shm-send -l crop -d 'Send this part of each frame: its size, and where its upper left corner is' -r
complete -c shm-send -l resize -d 'Send frames in this size, or so many times as large' -r
complete -c shm-send -l rotate -d 'Turn frames to the right by so many degrees' -r -f -a "90\t''
180\t''
270\t''"
complete -c shm-send -l flip -d 'Mirror frames: left to right, upside down, or both' -r -f -a "horizontal\t'Left to right'
vertical\t'Upside down'
both\t'Both'"
complete -c shm-send -l meta -d 'Send a line of JSON with each frame: of a file, in order, and the last one again; or the newest of stdin (-)' -r -F
complete -c shm-send -s f -l fps -d 'Frames per second; a camera is asked for this rate; 0 is as fast as possible [default: the source\'s own, else 30]' -r
complete -c shm-send -s c -l count -d 'Stop after this many frames' -r
complete -c shm-send -s n -l name -d 'The segment\'s name, as in /dev/shm; a leading slash may be left out' -r
complete -c shm-send -l slots -d 'Slots, 1 to 16. Receivers can lease all but two. With 1, every frame is where old programs look for it' -r
complete -c shm-send -l mode -d 'Permissions of the segment. 0644 lets other users receive' -r
complete -c shm-send -l loop -d 'Start pictures and videos again when they end'
complete -c shm-send -l captured -d 'Send the time at which each picture was taken, if the camera or the film tells'
complete -c shm-send -l replace -d 'Take the name over from a live sender'
complete -c shm-send -l show -d 'Show what is sent in a window, which is one more receiver; q or Esc ends'
complete -c shm-send -s j -l json -d 'Print JSON, one object a line'
complete -c shm-send -s q -l quiet -d 'Print only the summary; with --json, everything except frames'
complete -c shm-send -s h -l help -d 'Print help (see more with \'--help\')'
complete -c shm-send -s V -l version -d 'Print version'
