package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watch calls touched whenever somebody else has changed the table, or may have,
// until ctx ends.
func (k *Kernel) watch(ctx context.Context, touched func()) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: k.NetNS, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	touched() // what was before counts, too
	for {
		messages, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.ENOBUFS): // it was too much to hear it all
			touched()
			continue
		case err != nil:
			return err
		}
		for _, m := range messages {
			if !k.own(m.Header.PID) && concerns(m, TableName) {
				touched()
				break
			}
		}
	}
}

// concerns reports whether a message of nftables is about a table. In those about
// tables, chains, rules, sets and elements alike the first attribute names it.
func concerns(m netlink.Message, table string) bool {
	const header = 4 // struct nfgenmsg
	subsystem, kind := m.Header.Type>>8, m.Header.Type&0xff
	if subsystem != unix.NFNL_SUBSYS_NFTABLES || kind == unix.NFT_MSG_NEWGEN || len(m.Data) < header {
		return false
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return false
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == unix.NFTA_TABLE_NAME {
			return string(bytes.TrimRight(ad.Bytes(), "\x00")) == table
		}
	}
	return false
}
