# A device in ten lines: pip install paho-mqtt, then python lamp.py [PORT].
import sys, json, paho.mqtt.client as mqtt

def on_message(client, _, message):
    _, device, _, command, inbox, seq = message.topic.split("/")
    answer = {"ok": True, "command": command, "got": json.loads(message.payload or b"null")}
    client.publish(f"devices/{device}/responses/{inbox}/{seq}", json.dumps(answer), qos=1)

lamp = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
lamp.on_message = on_message
lamp.on_connect = lambda client, *_: client.subscribe("devices/my-lamp/commands/#", qos=1)
lamp.connect("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 1883)
lamp.loop_forever()
