package telemetry

import "strconv"

// AppendStream adds a line about a connection, or a session of datagrams, to
// the loop's buffer.
func (a *AccessLog) AppendStream(loop int, e *Exchanges, r *StreamRecord) {
	if a == nil {
		return
	}
	b := a.loops[loop]
	if b.batch.lines == 0 {
		b.begin()
	}
	if a.format == JSON {
		b.batch.text = appendStreamJSON(b.batch.text, &b.clock, e, r)
	} else {
		b.batch.text = appendStreamText(b.batch.text, &b.clock, e, r)
	}
	b.added()
}

// appendStreamJSON appends the line of a stream as a JSON object, whose keys
// are those of an exchange's where they mean the same.
func appendStreamJSON(dst []byte, clock *stamp, e *Exchanges, r *StreamRecord) []byte {
	dst = append(dst, `{"time":"`...)
	dst = clock.append(dst, r.Start)
	dst = append(dst, `","protocol":"`...)
	dst = append(dst, r.Kind.String()...)
	dst = append(dst, '"')
	if r.Name != "" {
		dst = appendMember(dst, `,"server_name":`, r.Name)
	}
	if r.Flags != 0 {
		dst = append(dst, `,"flags":"`...)
		dst = r.Flags.Append(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"bytes_in":`...)
	dst = strconv.AppendInt(dst, r.BytesReceived, 10)
	dst = append(dst, `,"bytes_out":`...)
	dst = strconv.AppendInt(dst, r.BytesSent, 10)
	if r.DatagramsReceived+r.DatagramsSent > 0 {
		dst = append(dst, `,"datagrams_in":`...)
		dst = strconv.AppendInt(dst, r.DatagramsReceived, 10)
		dst = append(dst, `,"datagrams_out":`...)
		dst = strconv.AppendInt(dst, r.DatagramsSent, 10)
	}
	dst = append(dst, `,"duration_ms":`...)
	dst = appendMillis(dst, r.Duration)
	if r.Connect != 0 {
		dst = append(dst, `,"connect_ms":`...)
		dst = appendMillis(dst, r.Connect)
	}
	dst = append(dst, `,"remote":"`...)
	dst = appendAddr(dst, r.Remote)
	dst = append(dst, '"')
	if r.Endpoint.IsValid() {
		dst = append(dst, `,"endpoint":"`...)
		dst = r.Endpoint.AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"attempts":`...)
	dst = strconv.AppendInt(dst, int64(r.Attempts), 10)
	if r.TLS {
		dst = append(dst, `,"tls":true`...)
	} else {
		dst = append(dst, `,"tls":false`...)
	}
	if r.Source != "" {
		dst = appendMember(dst, `,"source_principal":`, r.Source)
	}
	if r.Policy != "" {
		dst = appendMember(dst, `,"policy":`, r.Policy)
	}
	dst = append(dst, e.logged...)
	return append(dst, '}', '\n')
}

// appendStreamText appends the line of a stream for people: start, protocol,
// flags, bytes in and out, total and connect milliseconds, then who and what.
func appendStreamText(dst []byte, clock *stamp, e *Exchanges, r *StreamRecord) []byte {
	dst = append(dst, '[')
	dst = clock.append(dst, r.Start)
	dst = append(dst, `] "`...)
	dst = append(dst, r.Kind.String()...)
	dst = append(dst, `" `...)
	dst = appendFigures(dst, r.Flags, r.BytesReceived, r.BytesSent, r.Duration, r.Connect)
	dst = appendAddr(dst, r.Remote)
	dst = append(dst, ' ')
	dst = appendAddr(dst, r.Endpoint)
	l := &e.labels
	for _, s := range [...]string{r.Name, l.Listener, l.Route, l.Rule, l.Cluster} {
		dst = append(dst, ' ', '"')
		if s == "" {
			dst = append(dst, '-')
		}
		dst = appendQuoted(dst, s)
		dst = append(dst, '"')
	}
	if r.Attempts > 1 {
		dst = append(dst, " attempts="...)
		dst = strconv.AppendInt(dst, int64(r.Attempts), 10)
	}
	if r.DatagramsReceived+r.DatagramsSent > 0 {
		dst = append(dst, " datagrams="...)
		dst = strconv.AppendInt(dst, r.DatagramsReceived, 10)
		dst = append(dst, '/')
		dst = strconv.AppendInt(dst, r.DatagramsSent, 10)
	}
	if r.TLS {
		dst = append(dst, " tls"...)
	}
	dst = appendNamed(dst, "source", r.Source)
	dst = appendNamed(dst, "policy", r.Policy)
	return append(dst, '\n')
}
