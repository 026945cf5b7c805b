"""A scaling policy in twenty lines: requests in hand over a target, down one replica at a time.

Run it with: forebay simulate --policy "exec:python3 tests/external_policy.py"
"""

import json
import math
import sys

TARGET = 16  # requests per replica

for line in sys.stdin:
    observation = json.loads(line)
    replicas = {}
    for fleet in observation["fleets"]:
        tiers = fleet["router"]["tiers"] if fleet["router"] else []
        in_hand = sum(tier["queued"] + tier["running"] for tier in tiers)
        for variant in fleet["variants"]:
            wanted = math.ceil(in_hand / TARGET)
            replicas[variant["name"]] = max(wanted, variant["replicas_desired"] - 1, variant["min"])
    print(json.dumps({"replicas": replicas, "reason": "requests in hand"}), flush=True)
