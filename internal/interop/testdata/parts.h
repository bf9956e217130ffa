/* The parts of peer.c that know nothing of associations: content, and addresses. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct content {
	uint64_t key, off;
};

/* The content, the same as in content_test.go. */

static uint64_t
mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static struct content
content(uint64_t of_seed, uint32_t stream)
{
	struct content c = { mix(of_seed ^ mix((uint64_t)stream + 1)), 0 };
	return c;
}

static void
fill(struct content *c, uint8_t *p, size_t n)
{
	size_t i;
	uint64_t word = mix(c->key + c->off / 8);

	for (i = 0; i < n; i++) {
		if (c->off % 8 == 0)
			word = mix(c->key + c->off / 8);
		p[i] = (uint8_t)(word >> 8 * (c->off % 8));
		c->off++;
	}
}

static int
differs(struct content *c, const uint8_t *p, size_t n)
{
	size_t i;
	uint64_t word = mix(c->key + c->off / 8);

	for (i = 0; i < n; i++) {
		if (c->off % 8 == 0)
			word = mix(c->key + c->off / 8);
		if (p[i] != (uint8_t)(word >> 8 * (c->off % 8)))
			return 1;
		c->off++;
	}
	return 0;
}

/* Addresses. */

static socklen_t
parse_addr(const char *text, int port, struct sockaddr_storage *to)
{
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return sizeof(*in6);
	}
	fprintf(stderr, "%s is no address\n", text);
	exit(1);
}

/* pack puts addresses side by side, as bindx and connectx take them. */
static struct sockaddr *
pack(char *const *texts, int n, int port)
{
	char *all = calloc(n, sizeof(struct sockaddr_storage)), *at = all;
	struct sockaddr_storage one;

	for (int i = 0; i < n; i++) {
		socklen_t len = parse_addr(texts[i], port, &one);
		memcpy(at, &one, len);
		at += len;
	}
	return (struct sockaddr *)all;
}

static const char *
addr_text(const struct sockaddr_storage *a, char *buf, size_t n)
{
	if (a->ss_family == AF_INET)
		return inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, buf, n);
	return inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)a)->sin6_addr, buf, n);
}
