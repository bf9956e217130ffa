package driver

import (
	"context"
	"log/slog"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
)

// log tells the logger what happened to an association: failures at level Warn, changes of paths at level Info, the
// ordinary course of things at level Debug. Nothing is formatted before the level is known to be wanted. The
// association's lock is held.
func (c *Conn) log(l *slog.Logger, e *assoc.Event) {
	level, what := slog.LevelDebug, ""
	switch e.Kind {
	case assoc.EventUp:
		what = "association established"
	case assoc.EventPath:
		level, what = slog.LevelInfo, "path state changed"
		if e.From == heartbeat.Unconfirmed && e.To == heartbeat.Active {
			level = slog.LevelDebug
		}
	case assoc.EventPrimary:
		level, what = slog.LevelInfo, "data takes another path"
		if e.Prev == e.Path || !e.Prev.Local.IsValid() {
			level, what = slog.LevelDebug, "data takes its first path"
		}
	case assoc.EventPeerLocator:
		what = "path added"
	case assoc.EventPathGone:
		level, what = slog.LevelInfo, "path taken out of use"
	case assoc.EventRestart:
		level, what = slog.LevelWarn, "peer restarted"
	case assoc.EventRemoteError:
		level, what = slog.LevelInfo, "peer reported an error"
	case assoc.EventStreamReset:
		what = "peer ended streams"
	case assoc.EventStopAsked:
		what = "peer asked for the end of streams"
	case assoc.EventStreamsAdded:
		what = "streams added"
	case assoc.EventReconfigRefused:
		level, what = slog.LevelInfo, "peer refused to end or add streams"
	case assoc.EventSendFailed:
		what = "message not delivered"
	case assoc.EventPeerClosed:
		what = "peer closed"
	case assoc.EventClosed:
		what = "association ended"
		if e.Err != nil && !c.userClosed {
			level = slog.LevelWarn
		}
	default:
		return
	}
	ctx := context.Background()
	if !l.Enabled(ctx, level) {
		return
	}
	local, peer := c.a.Ports()
	attrs := []slog.Attr{slog.Int("port", int(local)), slog.Int("peer_port", int(peer))}
	if e.Path.Local.IsValid() {
		attrs = append(attrs, slog.String("path", e.Path.Pair.String()))
	}
	if e.Kind == assoc.EventPath {
		attrs = append(attrs, slog.String("from", e.From.String()), slog.String("to", e.To.String()))
	}
	if e.Kind == assoc.EventRemoteError {
		attrs = append(attrs, slog.String("cause", e.Cause.String()))
	}
	if len(e.Streams) > 0 {
		attrs = append(attrs, slog.Any("streams", e.Streams))
	}
	if e.Kind == assoc.EventSendFailed {
		attrs = append(attrs, slog.Int("stream", int(e.Failed.SID)), slog.Int("bytes", e.Failed.Len))
	}
	if e.Reason != "" {
		attrs = append(attrs, slog.String("reason", e.Reason))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("err", e.Err))
	}
	l.LogAttrs(ctx, level, what, attrs...)
}
