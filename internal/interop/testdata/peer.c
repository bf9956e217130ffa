/*
 * peer is an SCTP endpoint made of usrsctp, for tests of another one. It listens, or connects, over UDP encapsulation; it is
 * told what to do by lines on its standard input, and tells what happens by lines on its standard output.
 *
 *   peer [options]
 *     -u PORT   UDP port of ours                 -U PORT   UDP port of the peer, needed with -c
 *     -p PORT   SCTP port of ours                -P PORT   SCTP port of the peer
 *     -b ADDR   bind to this address, repeatable; otherwise to all
 *     -c ADDR   connect to this address, repeatable; otherwise listen
 *     -o N      outgoing streams                 -i N      incoming streams at most
 *     -r BYTES  receive buffer                   -s BYTES  send buffer
 *     -t MS     RTO.Min and RTO.Initial          -h MS     heartbeat interval
 *     -f N      timeouts until a path is potentially failed (RFC 7829)
 *     -e SEED   check that what arrives is the content of that seed
 *     -R SIZE   what arrives is records of that size instead, each beginning with its number, in any order
 *     -T        keep when each message arrived
 *     -E        send each message back instead, on its stream, with its identifier
 *     -I        announce interleaving of messages (RFC 8260)
 *     -X        announce neither partial reliability (RFC 3758) nor stream reset (RFC 6525)
 *     -m        tell of each message that has come: N message STREAM BYTES
 *
 * Connections are numbered from 1, and stand in front of each line, out and in:
 *     N send SEED FIRST STREAMS STEP BYTES SIZE [HOW]
 *                         send BYTES in messages of SIZE, in turn on STREAMS streams: FIRST, FIRST+STEP, ... Answer: sent
 *                         BYTES. With HOW as numbered records on stream FIRST: r in order, u without; behind that tMS or xN
 *                         for a lifetime or a limit of retransmissions, of all but each fourth and the last
 *     N failed            answer how many messages were given up: failed COUNT
 *     N missing COUNT     answer which of so many records have not come: missing NUMBER...
 *     N wait BYTES        answer when so many bytes have arrived: received BYTES
 *     N pause, N resume   do not read; read on
 *     N times             answer the microseconds of CLOCK_MONOTONIC at which messages arrived: times NUMBER NUMBER ...
 *     N abort TEXT        abort the association
 *     N shutdown          end the association in order
 *     N primary ADDR      prefer a path
 *     N reset FLAGS SID   reset outgoing (2) or incoming (1) streams or both (3); without SID all (RFC 6525)
 *     N add OUT IN        add streams
 *     N reset-assoc       reset all numbers of the association
 *     quit                leave without a word to anybody, as does the end of the input
 *
 * Lines that come by themselves: ready; N up OUT IN; N restart OUT IN; N lost; N shutdown; N peer-shutdown; N eof;
 * N broken ERRNO; N error CODE; N path ADDR STATE; N wrong TEXT; N reset-in SID..., N reset-out SID..., N streams OUT IN, each
 * with "denied" or "failed" at its end if it is; N assoc-reset FLAGS; N partial-aborted SID.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <usrsctp.h>

#include "parts.h"

/* The stack knows it; its header does not tell. */
#ifndef SCTP_INTERLEAVING_SUPPORTED
#define SCTP_INTERLEAVING_SUPPORTED 0x00001206
#endif

enum { MAX_ADDRS = 16, MAX_CONNS = 64, MAX_STREAMS = 65536, MAX_MESSAGE = 4 << 20 };

struct conn {
	int n;
	struct socket *sock;
	pthread_t reader;

	pthread_mutex_t mu;
	pthread_cond_t changed;
	int paused;
	int readable;              /* the stack has said so since somebody waited for it */
	uint64_t received, wanted; /* wanted: for which wait waits; 0: none */

	struct content *expected; /* per stream; key 0: nothing has come yet */
	uint64_t *part;           /* per stream: bytes of a message whose end has not come */
	uint8_t *seen;            /* per record */
	int64_t last;             /* of the ordered records, the latest */
	unsigned int failed;
	int64_t *times;           /* per message; guarded by mu */
	size_t timed;
	int wrong;
};

static struct conn conns[MAX_CONNS + 1];
static int conn_count;
static pthread_mutex_t out_mu = PTHREAD_MUTEX_INITIALIZER;

static uint64_t seed;
static int checking, echoing, telling, timing;
static size_t record_size;

static void
say(const char *format, ...)
{
	va_list ap;

	pthread_mutex_lock(&out_mu);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	pthread_mutex_unlock(&out_mu);
}

static void
die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* What happens. */

static const char *
outcome(unsigned int flags)
{
	if (flags & SCTP_STREAM_RESET_DENIED)
		return " denied";
	return flags & SCTP_STREAM_RESET_FAILED ? " failed" : "";
}

static void
notify_reset(struct conn *c, const struct sctp_stream_reset_event *e)
{
	size_t n = (e->strreset_length - sizeof(*e)) / sizeof(e->strreset_stream_list[0]), i;
	char text[400] = "";
	int at = 0, good = !*outcome(e->strreset_flags);

	for (i = 0; i < n && at < (int)sizeof(text) - 8; i++)
		at += snprintf(text + at, sizeof(text) - at, " %u", e->strreset_stream_list[i]);
	if (e->strreset_flags & SCTP_STREAM_RESET_INCOMING_SSN) {
		/* The stream begins anew. */
		for (i = 0; i < n && good; i++)
			c->expected[e->strreset_stream_list[i]].key = 0;
		if (n == 0 && good)
			memset(c->expected, 0, MAX_STREAMS * sizeof(*c->expected));
		say("%d reset-in%s%s", c->n, text, outcome(e->strreset_flags));
	}
	if (e->strreset_flags & SCTP_STREAM_RESET_OUTGOING_SSN)
		say("%d reset-out%s%s", c->n, text, outcome(e->strreset_flags));
}

static void
notify(struct conn *c, const union sctp_notification *n)
{
	static const char *paths[] = { "?", "available", "unreachable", "removed", "added", "primary", "confirmed" };
	char buf[INET6_ADDRSTRLEN];

	switch (n->sn_header.sn_type) {
	case SCTP_ASSOC_CHANGE: {
		const struct sctp_assoc_change *a = &n->sn_assoc_change;
		switch (a->sac_state) {
		case SCTP_COMM_UP:
			say("%d up %d %d", c->n, a->sac_outbound_streams, a->sac_inbound_streams);
			break;
		case SCTP_RESTART:
			/* The new association begins its streams anew. */
			memset(c->expected, 0, MAX_STREAMS * sizeof(*c->expected));
			pthread_mutex_lock(&c->mu);
			c->received = 0;
			pthread_mutex_unlock(&c->mu);
			say("%d restart %d %d", c->n, a->sac_outbound_streams, a->sac_inbound_streams);
			break;
		case SCTP_COMM_LOST:
			say("%d lost", c->n);
			break;
		case SCTP_SHUTDOWN_COMP:
			say("%d shutdown", c->n);
			break;
		default:
			say("%d lost, not established", c->n);
		}
		break;
	}
	case SCTP_PEER_ADDR_CHANGE: {
		const struct sctp_paddr_change *p = &n->sn_paddr_change;
		unsigned int s = p->spc_state < sizeof(paths) / sizeof(paths[0]) ? p->spc_state : 0;
		say("%d path %s %s", c->n, addr_text(&p->spc_aaddr, buf, sizeof(buf)), paths[s]);
		break;
	}
	case SCTP_REMOTE_ERROR:
		say("%d error %d", c->n, ntohs(n->sn_remote_error.sre_error));
		break;
	case SCTP_SHUTDOWN_EVENT:
		say("%d peer-shutdown", c->n);
		break;
	case SCTP_SEND_FAILED_EVENT:
		pthread_mutex_lock(&c->mu);
		c->failed++;
		pthread_mutex_unlock(&c->mu);
		break;
	case SCTP_PARTIAL_DELIVERY_EVENT:
		c->part[n->sn_pdapi_event.pdapi_stream] = 0;
		say("%d partial-aborted %u", c->n, n->sn_pdapi_event.pdapi_stream);
		break;
	case SCTP_STREAM_RESET_EVENT:
		notify_reset(c, &n->sn_strreset_event);
		break;
	case SCTP_STREAM_CHANGE_EVENT: {
		const struct sctp_stream_change_event *s = &n->sn_strchange_event;
		say("%d streams %u %u%s", c->n, s->strchange_outstrms, s->strchange_instrms, outcome(s->strchange_flags));
		break;
	}
	case SCTP_ASSOC_RESET_EVENT:
		say("%d assoc-reset %u", c->n, n->sn_assocreset_event.assocreset_flags);
		break;
	}
}

static void
wrong(struct conn *c, const char *format, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (!c->wrong++) /* the first one tells */
		say("%d wrong %s", c->n, text);
}

static void
check_record(struct conn *c, const uint8_t *p, size_t n, int whole, int ordered)
{
	struct content expected;
	uint32_t number;
	int twice;

	if (n != record_size || !whole) {
		wrong(c, "a record of %zu bytes, whole %d", n, whole);
		return;
	}
	memcpy(&number, p, 4);
	number = ntohl(number);
	pthread_mutex_lock(&c->mu);
	twice = number >= MAX_STREAMS || c->seen[number]++;
	pthread_mutex_unlock(&c->mu);
	if (twice) {
		wrong(c, "record %u comes twice or is none", number);
		return;
	}
	if (ordered) {
		if ((int64_t)number <= c->last)
			wrong(c, "record %u comes behind record %lld", number, (long long)c->last);
		c->last = number;
	}
	expected = content(seed, number);
	if (differs(&expected, p + 4, n - 4))
		wrong(c, "record %u differs", number);
}

/* readable is called by the stack. */
static void
readable(struct socket *sock, void *arg, int flags)
{
	struct conn *c = arg;

	(void)sock;
	(void)flags;
	pthread_mutex_lock(&c->mu);
	c->readable = 1;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mu);
}

/*
 * wait_readable waits until the stack has something to say, or a moment: a reader that slept within the stack was seen, once
 * in two hundred runs, not to hear of the end.
 */
static void
wait_readable(struct conn *c)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 50000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&c->mu);
	while (!c->readable && pthread_cond_timedwait(&c->changed, &c->mu, &until) == 0)
		;
	c->readable = 0;
	pthread_mutex_unlock(&c->mu);
}

static void *
read_all(void *arg)
{
	struct conn *c = arg;
	uint8_t *buf = malloc(MAX_MESSAGE);
	size_t have = 0; /* of a message to send back */

	for (;;) {
		struct sctp_rcvinfo info;
		struct sockaddr_storage from;
		socklen_t from_len = sizeof(from), info_len = sizeof(info);
		unsigned int info_type = 0;
		int flags = MSG_DONTWAIT;
		ssize_t n;

		pthread_mutex_lock(&c->mu);
		while (c->paused)
			pthread_cond_wait(&c->changed, &c->mu);
		pthread_mutex_unlock(&c->mu);
		n = usrsctp_recvv(c->sock, buf + have, MAX_MESSAGE - have, (struct sockaddr *)&from, &from_len, &info, &info_len,
		                  &info_type, &flags);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			wait_readable(c);
			continue;
		}
		if (n < 0) {
			say("%d broken %s", c->n, strerror(errno));
			break;
		}
		if (n == 0) {
			say("%d eof", c->n);
			break;
		}
		if (flags & MSG_NOTIFICATION) {
			notify(c, (union sctp_notification *)(buf + have));
			continue;
		}
		if (info_type != SCTP_RECVV_RCVINFO)
			wrong(c, "no information about a message");
		if (telling) {
			c->part[info.rcv_sid] += n;
			if (flags & MSG_EOR) {
				say("%d message %u %llu", c->n, info.rcv_sid, (unsigned long long)c->part[info.rcv_sid]);
				c->part[info.rcv_sid] = 0;
			}
		}
		if (record_size > 0) {
			/* A record may come in parts of the buffer's making, with interleaving of the stack's. */
			have += n;
			if (flags & MSG_EOR || have > record_size) {
				check_record(c, buf, have, flags & MSG_EOR, !(info.rcv_flags & SCTP_UNORDERED));
				have = 0;
			}
		} else if (checking) {
			struct content *e = &c->expected[info.rcv_sid];
			if (e->key == 0)
				*e = content(seed, info.rcv_sid);
			if (differs(e, buf, n))
				wrong(c, "stream %u differs at byte %llu", info.rcv_sid, (unsigned long long)e->off);
		} else if (echoing) {
			have += n;
			if (flags & MSG_EOR) {
				struct sctp_sndinfo snd = { 0 };
				snd.snd_sid = info.rcv_sid;
				snd.snd_ppid = info.rcv_ppid;
				snd.snd_flags = info.rcv_flags & SCTP_UNORDERED;
				if (usrsctp_sendv(c->sock, buf, have, NULL, 0, &snd, sizeof(snd), SCTP_SENDV_SNDINFO, 0) < 0)
					say("%d broken %s", c->n, strerror(errno));
				have = 0;
			}
		}
		pthread_mutex_lock(&c->mu);
		if (timing && flags & MSG_EOR && c->timed < MAX_STREAMS) {
			struct timespec now;
			clock_gettime(CLOCK_MONOTONIC, &now);
			c->times[c->timed++] = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
		}
		c->received += n;
		if (c->wanted > 0 && c->received >= c->wanted) {
			say("%d received %llu", c->n, (unsigned long long)c->received);
			c->wanted = 0;
		}
		pthread_mutex_unlock(&c->mu);
	}
	usrsctp_close(c->sock);
	free(buf);
	return NULL;
}

static struct conn *
new_conn(struct socket *sock)
{
	struct conn *c = &conns[++conn_count];

	if (conn_count > MAX_CONNS) {
		fprintf(stderr, "too many connections\n");
		exit(1);
	}
	c->n = conn_count;
	c->sock = sock;
	pthread_mutex_init(&c->mu, NULL);
	pthread_cond_init(&c->changed, NULL);
	c->expected = calloc(MAX_STREAMS, sizeof(*c->expected));
	c->part = calloc(MAX_STREAMS, sizeof(*c->part));
	c->seen = calloc(MAX_STREAMS, 1);
	c->last = -1;
	c->times = calloc(MAX_STREAMS, sizeof(*c->times));
	usrsctp_set_upcall(sock, readable, c);
	if (pthread_create(&c->reader, NULL, read_all, c) != 0)
		die("pthread_create");
	return c;
}

/* Commands. */

struct sending {
	struct conn *c;
	uint64_t seed, bytes;
	unsigned int first, streams, step;
	size_t size;
	int records, unordered;
	struct sctp_prinfo pr;
};

static void *
send_all(void *arg)
{
	struct sending *s = arg;
	struct content *contents = calloc(s->streams, sizeof(*contents));
	uint8_t *buf = malloc(s->size);
	uint64_t sent = 0;
	uint32_t i;

	for (i = 0; i < s->streams; i++)
		contents[i] = content(s->seed, s->first + i * s->step);
	for (i = 0; sent < s->bytes; i++) {
		struct sctp_sendv_spa spa = { 0 };
		size_t n = s->bytes - sent < s->size ? s->bytes - sent : s->size;

		spa.sendv_flags = SCTP_SEND_SNDINFO_VALID;
		spa.sendv_sndinfo.snd_sid = s->first + i % s->streams * s->step;
		spa.sendv_sndinfo.snd_ppid = htonl(s->seed);
		if (s->records) {
			struct content record = content(s->seed, i);
			uint32_t number = htonl(i);
			n = s->size;
			memcpy(buf, &number, 4);
			fill(&record, buf + 4, n - 4);
			if (s->unordered)
				spa.sendv_sndinfo.snd_flags = SCTP_UNORDERED;
			if (s->pr.pr_policy != SCTP_PR_SCTP_NONE && i % 4 != 0 && sent + n < s->bytes) {
				spa.sendv_flags |= SCTP_SEND_PRINFO_VALID;
				spa.sendv_prinfo = s->pr;
			}
		} else {
			fill(&contents[i % s->streams], buf, n);
		}
		if (usrsctp_sendv(s->c->sock, buf, n, NULL, 0, &spa, sizeof(spa), SCTP_SENDV_SPA, 0) < 0) {
			say("%d sent %llu, then %s", s->c->n, (unsigned long long)sent, strerror(errno));
			break;
		}
		sent += n;
	}
	if (sent >= s->bytes)
		say("%d sent %llu", s->c->n, (unsigned long long)sent);
	free(contents);
	free(buf);
	free(s);
	return NULL;
}

static void
abort_conn(struct conn *c, const char *text)
{
	struct sctp_sndinfo snd = { 0 };

	snd.snd_flags = SCTP_ABORT;
	if (usrsctp_sendv(c->sock, text, strlen(text), NULL, 0, &snd, sizeof(snd), SCTP_SENDV_SNDINFO, 0) < 0)
		say("%d broken %s", c->n, strerror(errno));
}

static void
missing(struct conn *c, unsigned int count)
{
	char *text = malloc(8 * (size_t)count + 1);
	size_t at = 0;

	text[0] = 0;
	pthread_mutex_lock(&c->mu);
	for (unsigned int i = 0; i < count && i < MAX_STREAMS; i++)
		if (!c->seen[i])
			at += sprintf(text + at, " %u", i);
	pthread_mutex_unlock(&c->mu);
	say("%d missing%s", c->n, text);
	free(text);
}

static void
reset(struct conn *c, const char *line)
{
	union {
		struct sctp_reset_streams r;
		uint8_t room[sizeof(struct sctp_reset_streams) + sizeof(uint16_t)];
	} u = { { 0 } };
	unsigned int flags = 0, sid = 0;
	int got = sscanf(line, "%u %u", &flags, &sid);

	u.r.srs_flags = flags;
	u.r.srs_number_streams = got == 2;
	if (got == 2)
		u.r.srs_stream_list[0] = sid;
	if (usrsctp_setsockopt(c->sock, IPPROTO_SCTP, SCTP_RESET_STREAMS, &u, sizeof(u.r) + (got == 2) * sizeof(uint16_t)) < 0)
		say("%d broken %s", c->n, strerror(errno));
}

static void
tell_times(struct conn *c)
{
	pthread_mutex_lock(&c->mu);
	pthread_mutex_lock(&out_mu);
	printf("%d times", c->n);
	for (size_t i = 0; i < c->timed; i++)
		printf(" %lld", (long long)c->times[i]);
	putchar('\n');
	fflush(stdout);
	pthread_mutex_unlock(&out_mu);
	pthread_mutex_unlock(&c->mu);
}

static void
command(char *line)
{
	char word[32], text[200] = "";
	int n, at = 0;
	struct conn *c;

	line[strcspn(line, "\n")] = 0;
	if (strcmp(line, "quit") == 0)
		_exit(0);
	if (sscanf(line, "%d %31s%n", &n, word, &at) != 2 || n < 1 || n > conn_count) {
		say("0 wrong command: %s", line);
		return;
	}
	c = &conns[n];
	line += at + strspn(line + at, " ");
	if (strcmp(word, "send") == 0) {
		struct sending *s = calloc(1, sizeof(*s));
		unsigned long long of_seed, bytes, size;
		pthread_t thread;

		if (sscanf(line, "%llu %u %u %u %llu %llu %199s", &of_seed, &s->first, &s->streams, &s->step, &bytes, &size, text) < 6 ||
		    s->streams == 0 || size < 5) {
			say("%d wrong command: %s", n, line);
			return;
		}
		s->c = c;
		s->seed = of_seed;
		s->bytes = bytes;
		s->size = size;
		s->records = text[0] == 'r' || text[0] == 'u';
		s->unordered = text[0] == 'u';
		if (s->records && text[1] != 0) {
			s->pr.pr_policy = text[1] == 't' ? SCTP_PR_SCTP_TTL : SCTP_PR_SCTP_RTX;
			s->pr.pr_value = strtoul(text + 2, NULL, 10);
		}
		if (pthread_create(&thread, NULL, send_all, s) != 0)
			die("pthread_create");
		pthread_detach(thread);
	} else if (strcmp(word, "wait") == 0) {
		pthread_mutex_lock(&c->mu);
		c->wanted = strtoull(line, NULL, 10);
		if (c->received >= c->wanted) {
			say("%d received %llu", c->n, (unsigned long long)c->received);
			c->wanted = 0;
		}
		pthread_mutex_unlock(&c->mu);
	} else if (strcmp(word, "pause") == 0 || strcmp(word, "resume") == 0) {
		pthread_mutex_lock(&c->mu);
		c->paused = word[0] == 'p';
		pthread_cond_broadcast(&c->changed);
		pthread_mutex_unlock(&c->mu);
		say("%d %sd", n, word);
	} else if (strcmp(word, "times") == 0) {
		tell_times(c);
	} else if (strcmp(word, "abort") == 0) {
		abort_conn(c, line);
	} else if (strcmp(word, "shutdown") == 0) {
		if (usrsctp_shutdown(c->sock, SHUT_WR) < 0)
			say("%d broken %s", n, strerror(errno));
	} else if (strcmp(word, "primary") == 0) {
		struct sctp_setprim prim = { 0 };
		parse_addr(line, 0, &prim.ssp_addr);
		if (usrsctp_setsockopt(c->sock, IPPROTO_SCTP, SCTP_PRIMARY_ADDR, &prim, sizeof(prim)) < 0)
			say("%d broken %s", n, strerror(errno));
	} else if (strcmp(word, "missing") == 0) {
		missing(c, strtoul(line, NULL, 10));
	} else if (strcmp(word, "failed") == 0) {
		pthread_mutex_lock(&c->mu);
		say("%d failed %u", n, c->failed);
		pthread_mutex_unlock(&c->mu);
	} else if (strcmp(word, "reset") == 0) {
		reset(c, line);
	} else if (strcmp(word, "add") == 0) {
		struct sctp_add_streams add = { 0 };
		unsigned int out = 0, in = 0;
		sscanf(line, "%u %u", &out, &in);
		add.sas_outstrms = out;
		add.sas_instrms = in;
		if (usrsctp_setsockopt(c->sock, IPPROTO_SCTP, SCTP_ADD_STREAMS, &add, sizeof(add)) < 0)
			say("%d broken %s", n, strerror(errno));
	} else if (strcmp(word, "reset-assoc") == 0) {
		sctp_assoc_t all = SCTP_ALL_ASSOC;
		if (usrsctp_setsockopt(c->sock, IPPROTO_SCTP, SCTP_RESET_ASSOC, &all, sizeof(all)) < 0)
			say("%d broken %s", n, strerror(errno));
	} else {
		say("%d wrong command: %s", n, word);
	}
}

static void *
accept_all(void *arg)
{
	struct socket *listener = arg;

	for (;;) {
		struct socket *sock = usrsctp_accept(listener, NULL, NULL);
		if (sock == NULL)
			die("accept");
		new_conn(sock);
	}
	return NULL;
}

static void
set(struct socket *sock, int level, int name, const void *value, socklen_t len, const char *what)
{
	if (usrsctp_setsockopt(sock, level, name, value, len) < 0)
		die(what);
}

static void
quiet(const char *format, ...)
{
	(void)format;
}

int
main(int argc, char **argv)
{
	static const uint16_t events[] = { SCTP_ASSOC_CHANGE, SCTP_PEER_ADDR_CHANGE, SCTP_REMOTE_ERROR, SCTP_SHUTDOWN_EVENT,
		SCTP_SEND_FAILED_EVENT, SCTP_PARTIAL_DELIVERY_EVENT, SCTP_STREAM_RESET_EVENT, SCTP_STREAM_CHANGE_EVENT,
		SCTP_ASSOC_RESET_EVENT };
	char *own[MAX_ADDRS], *peers[MAX_ADDRS], line[512];
	int own_count = 0, peer_count = 0, port = 0, peer_port = 0, udp_port = 9899, peer_udp_port = 0, opt, family = AF_INET;
	int rcvbuf = 0, sndbuf = 0, interleaving = 0, plain = 0;
	const int on = 1, interleaved = 2;
	struct sctp_assoc_value value = { SCTP_FUTURE_ASSOC, 0 };
	struct sctp_initmsg init = { 0 };
	struct sctp_udpencaps encaps;
	struct socket *sock;
	pthread_t acceptor;
	uint32_t rto = 0, heartbeat = 0;
	long pf = -1;

	while ((opt = getopt(argc, argv, "u:U:p:P:b:c:o:i:r:s:t:h:f:e:R:TEIXm")) != -1) {
		switch (opt) {
		case 'u': udp_port = atoi(optarg); break;
		case 'U': peer_udp_port = atoi(optarg); break;
		case 'p': port = atoi(optarg); break;
		case 'P': peer_port = atoi(optarg); break;
		case 'o': init.sinit_num_ostreams = atoi(optarg); break;
		case 'i': init.sinit_max_instreams = atoi(optarg); break;
		case 'r': rcvbuf = atoi(optarg); break;
		case 's': sndbuf = atoi(optarg); break;
		case 't': rto = atoi(optarg); break;
		case 'h': heartbeat = atoi(optarg); break;
		case 'f': pf = atoi(optarg); break;
		case 'e': seed = strtoull(optarg, NULL, 10); checking = 1; break;
		case 'R': record_size = atoi(optarg); break;
		case 'T': timing = 1; break;
		case 'E': echoing = 1; break;
		case 'I': interleaving = 1; break;
		case 'X': plain = 1; break;
		case 'm': telling = 1; break;
		case 'b':
		case 'c':
			if (own_count == MAX_ADDRS || peer_count == MAX_ADDRS)
				return 1;
			if (strchr(optarg, ':') != NULL)
				family = AF_INET6;
			if (opt == 'b')
				own[own_count++] = optarg;
			else
				peers[peer_count++] = optarg;
			break;
		default:
			return 1;
		}
	}
	usrsctp_init(udp_port, NULL, quiet);
	usrsctp_sysctl_set_sctp_no_csum_on_loopback(0);
	usrsctp_sysctl_set_sctp_ecn_enable(0);
	if (rto > 0) {
		usrsctp_sysctl_set_sctp_rto_min_default(rto);
		usrsctp_sysctl_set_sctp_rto_initial_default(rto);
	}
	if (heartbeat > 0)
		usrsctp_sysctl_set_sctp_heartbeat_interval_default(heartbeat);
	if (pf >= 0)
		usrsctp_sysctl_set_sctp_path_pf_threshold(pf);
	if (rcvbuf > 0)
		usrsctp_sysctl_set_sctp_recvspace(rcvbuf);
	if (sndbuf > 0)
		usrsctp_sysctl_set_sctp_sendspace(sndbuf);

	if (plain) {
		usrsctp_sysctl_set_sctp_pr_enable(0);
		usrsctp_sysctl_set_sctp_reconfig_enable(0);
	}

	if ((sock = usrsctp_socket(family, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL)) == NULL)
		die("socket");
	set(sock, IPPROTO_SCTP, SCTP_RECVRCVINFO, &on, sizeof(on), "SCTP_RECVRCVINFO");
	set(sock, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof(on), "SCTP_NODELAY");
	set(sock, IPPROTO_SCTP, SCTP_INITMSG, &init, sizeof(init), "SCTP_INITMSG");
	if (!plain) {
		value.assoc_value = SCTP_ENABLE_RESET_STREAM_REQ | SCTP_ENABLE_RESET_ASSOC_REQ | SCTP_ENABLE_CHANGE_ASSOC_REQ;
		set(sock, IPPROTO_SCTP, SCTP_ENABLE_STREAM_RESET, &value, sizeof(value), "SCTP_ENABLE_STREAM_RESET");
	}
	if (interleaving) {
		value.assoc_value = 1;
		set(sock, IPPROTO_SCTP, SCTP_FRAGMENT_INTERLEAVE, &interleaved, sizeof(interleaved), "SCTP_FRAGMENT_INTERLEAVE");
		set(sock, IPPROTO_SCTP, SCTP_INTERLEAVING_SUPPORTED, &value, sizeof(value), "SCTP_INTERLEAVING_SUPPORTED");
	}
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct sctp_event event = { SCTP_FUTURE_ASSOC, events[i], 1 };
		set(sock, IPPROTO_SCTP, SCTP_EVENT, &event, sizeof(event), "SCTP_EVENT");
	}
	if (peer_udp_port > 0) {
		memset(&encaps, 0, sizeof(encaps));
		encaps.sue_address.ss_family = family;
		encaps.sue_port = htons(peer_udp_port);
		set(sock, IPPROTO_SCTP, SCTP_REMOTE_UDP_ENCAPS_PORT, &encaps, sizeof(encaps), "SCTP_REMOTE_UDP_ENCAPS_PORT");
	}
	if (own_count > 0) {
		if (usrsctp_bindx(sock, pack(own, own_count, port), own_count, SCTP_BINDX_ADD_ADDR) < 0)
			die("bindx");
	} else {
		struct sockaddr_storage any;
		socklen_t len = parse_addr(family == AF_INET ? "0.0.0.0" : "::", port, &any);
		if (usrsctp_bind(sock, (struct sockaddr *)&any, len) < 0)
			die("bind");
	}
	if (peer_count > 0) {
		if (usrsctp_connectx(sock, pack(peers, peer_count, peer_port), peer_count, NULL) < 0)
			die("connectx");
		new_conn(sock);
	} else {
		if (usrsctp_listen(sock, 10) < 0)
			die("listen");
		if (pthread_create(&acceptor, NULL, accept_all, sock) != 0)
			die("pthread_create");
	}
	say("ready");
	while (fgets(line, sizeof(line), stdin) != NULL)
		command(line);
	_exit(0);
}
