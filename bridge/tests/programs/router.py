"""A zenoh router, as zenohd is one: router.py ENDPOINT"""

import json
import sys
import time

import zenoh

config = zenoh.Config()
config.insert_json5("mode", '"router"')
config.insert_json5("listen/endpoints", json.dumps([sys.argv[1]]))
config.insert_json5("scouting/multicast/enabled", "false")
with zenoh.open(config):
    print("routing", flush=True)
    time.sleep(3600)
