"""What iw prints, recorded, with addresses and names made up."""

DEV = """phy#1
	Interface wlan1
		ifindex 6
		wdev 0x100000001
		addr 02:00:00:00:01:00
		ssid caf\\xc3\\xa9
		type AP
		channel 36 (5180 MHz), width: 80 MHz, center1: 5210 MHz
		txpower 20.00 dBm
		multicast TXQ:
			qsz-byt	qsz-pkt	flows
			0	0	0
phy#0
	Unnamed/non-netdev interface
		wdev 0x2
		addr 02:00:00:00:00:01
		type P2P-device
	Interface wlan0
		ifindex 5
		wdev 0x1
		addr 02:00:00:00:00:00
		type managed
"""

PHY = """Wiphy phy0
	max # scan SSIDs: 4
	Band 1:
		Capabilities: 0x11ef
			RX LDPC
			HT20/HT40
		Frequencies:
			* 2412 MHz [1] (20.0 dBm)
			* 2437 MHz [6] (20.0 dBm)
			* 2484 MHz [14] (disabled)
	Band 2:
		Capabilities: 0x11ef
			HT20/HT40
		VHT Capabilities (0x338001b2):
			Max MPDU length: 11454
			Supported Channel Width: neither 160 nor 80+80
		Frequencies:
			* 5180.0 MHz [36] (23.0 dBm)
			* 5260 MHz [52] (20.0 dBm) (no IR, radar detection)
	Maximum associated stations in AP mode: 32
Wiphy phy1
	Band 1:
		Frequencies:
			* 2412 MHz [1] (20.0 dBm)
"""

STATIONS = """Station 02:00:00:00:02:00 (on wlan1)
	inactive time:	304 ms
	rx bytes:	18816
	rx packets:	75
	tx bytes:	5386
	tx packets:	21
	tx retries:	4
	tx failed:	1
	signal:  	-48 [-49, -52] dBm
	signal avg:	-48 [-49, -51] dBm
	tx bitrate:	866.7 MBit/s VHT-MCS 9 80MHz short GI VHT-NSS 2
	rx bitrate:	6.0 MBit/s
	authorized:	yes
	connected time:	1029 seconds
Station 02:00:00:00:03:00 (on wlan1)
	authorized:	no
"""

SURVEY = """Survey data from wlan1
	frequency:			5180 MHz [in use]
	noise:				-95 dBm
Survey data from wlan1
	frequency:			5200 MHz
	noise:				-90 dBm
"""
