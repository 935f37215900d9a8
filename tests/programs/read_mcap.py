"""Reads an MCAP file as Foxglove's own Python packages do, and prints a line of JSON for each picture."""

import hashlib
import json
import sys

from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

with open(sys.argv[1], "rb") as file:
    reader = make_reader(file, decoder_factories=[DecoderFactory()])
    summary = reader.get_summary()
    pictures = {id for id, schema in summary.schemas.items() if schema.name == "foxglove.RawImage"}
    topics = {c.topic for c in summary.channels.values() if c.schema_id in pictures}
    for _, channel, message, image in reader.iter_decoded_messages(topics=topics):
        line = {
            "topic": channel.topic,
            "sequence": message.sequence,
            "log_time": message.log_time,
            "publish_time": message.publish_time,
            "timestamp": image.timestamp.ToNanoseconds(),
            "frame_id": image.frame_id,
            "width": image.width,
            "height": image.height,
            "encoding": image.encoding,
            "step": image.step,
            "sha256": hashlib.sha256(image.data).hexdigest(),
        }
        print(json.dumps(line))
