#include "objstore/s3/uri.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void uri_encode(struct text *to, const char *s, bool keep_slashes)
{
    static const char digits[] = "0123456789ABCDEF";
    text_add(to, "");
    while (*s) {
        size_t plain = 0;
        while (is_unreserved((unsigned char)s[plain]) || (keep_slashes && s[plain] == '/'))
            plain++;
        text_add_bytes(to, s, plain);
        s += plain;
        if (*s) {
            unsigned char c = (unsigned char)*s++;
            char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
            text_add_bytes(to, escape, 3);
        }
    }
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool uri_decode(char *s)
{
    char *to = s;
    for (; *s; s++) {
        if (*s == '+') {
            *to++ = ' ';
        } else if (*s == '%') {
            int high = digit_of(s[1]);
            int low = high < 0 ? -1 : digit_of(s[2]);
            if (low < 0 || (high == 0 && low == 0))
                return false;
            *to++ = (char)(high << 4 | low);
            s += 2;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct uri_pair *)a)->name, ((const struct uri_pair *)b)->name);
}

void uri_add_query(struct text *to, struct uri_pair *pairs, size_t count)
{
    qsort(pairs, count, sizeof *pairs, by_name);
    for (size_t i = 0; i < count; i++) {
        if (i)
            text_add(to, "&");
        uri_encode(to, pairs[i].name, false);
        text_add(to, "=");
        uri_encode(to, pairs[i].value, false);
    }
}

static bool parse_port(const char *s, uint16_t *port)
{
    char *end;
    if (*s < '0' || *s > '9')
        return false;
    unsigned long n = strtoul(s, &end, 10);
    if (*end || n < 1 || n > 65535)
        return false;
    *port = (uint16_t)n;
    return true;
}

static bool parse_host(struct endpoint *e, const char *s, size_t n)
{
    if (n == 0 || n >= sizeof e->host)
        return false;
    memcpy(e->host, s, n);
    e->host[n] = '\0';
    struct in6_addr address;
    if (s[0] == '[') {
        char inner[sizeof e->host];
        if (n < 3 || s[n - 1] != ']')
            return false;
        memcpy(inner, s + 1, n - 2);
        inner[n - 2] = '\0';
        e->is_address = true;
        return inet_pton(AF_INET6, inner, &address) == 1;
    }
    e->is_address = inet_pton(AF_INET, e->host, &address) == 1;
    for (size_t i = 0; i < n; i++) {
        if (!is_unreserved((unsigned char)s[i]) || s[i] == '~')
            return false;
    }
    return true;
}

enum err endpoint_parse(const char *url, struct endpoint *out, struct complaint *c)
{
    struct endpoint e = {0};
    const char *s = url;
    if (strncmp(s, "https://", 8) == 0) {
        e.tls = true;
        s += 8;
    } else if (strncmp(s, "http://", 7) == 0) {
        s += 7;
    } else {
        return complain(c, ERR_INVALID, "endpoint '%s': write http://HOST[:PORT] or https://HOST[:PORT]",
                        url);
    }
    e.port = e.tls ? 443 : 80;
    size_t n = *s == '[' ? strcspn(s, "]/") : strcspn(s, ":/");
    if (s[n] == ']')
        n++;
    const char *rest = s + n;
    char port[8] = "";
    if (*rest == ':') {
        size_t digits = strcspn(++rest, "/");
        if (digits >= sizeof port)
            digits = 0;
        memcpy(port, rest, digits);
        if (!parse_port(port, &e.port))
            return complain(c, ERR_INVALID, "endpoint '%s': the port is a number from 1 to 65535", url);
        rest += digits;
    }
    if (!parse_host(&e, s, n) || (*rest && strcmp(rest, "/") != 0))
        return complain(c, ERR_INVALID, "endpoint '%s': write http://HOST[:PORT] or https://HOST[:PORT]",
                        url);
    *out = e;
    return ERR_OK;
}

void endpoint_add_host(struct text *to, const struct endpoint *e)
{
    text_add(to, e->host);
    if (e->port != (e->tls ? 443 : 80))
        text_addf(to, ":%u", (unsigned)e->port);
}
