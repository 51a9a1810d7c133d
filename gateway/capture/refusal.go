package capture

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of the protocol of nfnetlink_log: include/uapi/linux/netfilter/nfnetlink_log.h of Linux.
const (
	logPacket = unix.NFNL_SUBSYS_ULOG << 8   // NFULNL_MSG_PACKET
	logConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1 // NFULNL_MSG_CONFIG

	logPayload = 9  // NFULA_PAYLOAD
	logPrefix  = 10 // NFULA_PREFIX

	logCommand   = 1 // NFULA_CFG_CMD
	logMode      = 2 // NFULA_CFG_MODE
	logThreshold = 5 // NFULA_CFG_QTHRESH

	logBind       = 1 // NFULNL_CFG_CMD_BIND
	logCopyPacket = 2 // NFULNL_COPY_PACKET
)

// logBytes is how much of a packet is logged: its headers.
const logBytes = 128

// A refused is a connection that the kernel has refused.
type refused struct {
	why      Refusal
	from, to netip.AddrPort
}

// readRefusals hands to each what the kernel logs, from when it calls open, until
// ctx ends. It is not all that is refused: the kernel bounds it.
func readRefusals(ctx context.Context, netNS int, open func(), each func(refused)) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netNS})
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := bindLog(c); err != nil {
		return fmt.Errorf("log of the kernel, group %d: %w", logGroup, err)
	}
	open()
	for {
		messages, err := c.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, m := range messages {
			if r, ok := parseRefusal(m); ok {
				each(r)
			}
		}
	}
}

// bindLog asks the kernel for what is logged to our group.
func bindLog(c *netlink.Conn) error {
	// A packet is lost rather than the socket when we do not keep up.
	if err := c.SetOption(netlink.NoENOBUFS, true); err != nil {
		return err
	}
	mode := append(binary.BigEndian.AppendUint32(nil, logBytes), logCopyPacket, 0)
	for _, a := range []netlink.Attribute{
		{Type: logCommand, Data: []byte{logBind}},
		{Type: logMode, Data: mode},
		{Type: logThreshold, Data: binary.BigEndian.AppendUint32(nil, 1)}, // each at once
	} {
		data, err := netlink.MarshalAttributes([]netlink.Attribute{a})
		if err != nil {
			return err
		}
		header := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, logGroup)
		_, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: logConfig, Flags: netlink.Request | netlink.Acknowledge},
			Data:   append(header, data...),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// parseRefusal reads a message of the log; false where it is none of ours.
func parseRefusal(m netlink.Message) (refused, bool) {
	const header = 4 // struct nfgenmsg
	var r refused
	if m.Header.Type != logPacket || len(m.Data) < header {
		return r, false
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return r, false
	}
	found := false
	for ad.Next() {
		switch ad.Type() {
		case logPrefix:
			why, ours := strings.CutPrefix(ad.String(), labelPrefix)
			if !ours {
				return r, false
			}
			r.why = Refusal(why)
		case logPayload:
			r.from, r.to, found = parsePacket(ad.Bytes())
		}
	}
	return r, ad.Err() == nil && found && r.why != ""
}

// parsePacket returns the ends of a packet of TCP, which begins with its IP
// header and may be cut off behind the ports (RFC 791 section 3.1, RFC 8200
// sections 3 and 4).
func parsePacket(b []byte) (from, to netip.AddrPort, ok bool) {
	if len(b) < 1 {
		return from, to, false
	}
	var source, destination netip.Addr
	var segment []byte
	switch b[0] >> 4 {
	case 4:
		size := int(b[0]&0xf) * 4
		if size < 20 || len(b) < size || b[9] != unix.IPPROTO_TCP {
			return from, to, false
		}
		source, destination = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		segment = b[size:]
	case 6:
		if len(b) < 40 {
			return from, to, false
		}
		source, destination = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		if segment, ok = behindExtensions(b[6], b[40:]); !ok {
			return from, to, false
		}
	}
	if len(segment) < 4 {
		return from, to, false
	}
	return netip.AddrPortFrom(source, binary.BigEndian.Uint16(segment)), netip.AddrPortFrom(destination, binary.BigEndian.Uint16(segment[2:])), true
}

// behindExtensions returns what is behind the extension headers of IPv6, if that
// is TCP.
func behindExtensions(next byte, b []byte) ([]byte, bool) {
	for next != unix.IPPROTO_TCP {
		switch next {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
		default:
			return nil, false
		}
		if len(b) < 2 || len(b) < 8+8*int(b[1]) {
			return nil, false
		}
		next, b = b[0], b[8+8*int(b[1]):]
	}
	return b, true
}
