import json
import sys

print(json.dumps(send_message(sys.argv[1], sys.argv[2])))
