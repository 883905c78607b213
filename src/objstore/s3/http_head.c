#include "objstore/s3/http_head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool parse_number(const char **s, uint64_t *n)
{
    char *end;
    if (**s < '0' || **s > '9' || strspn(*s, "0123456789") > 19)
        return false;
    *n = strtoull(*s, &end, 10);
    *s = end;
    return true;
}

static void take_length(struct http_head *h, const char *v)
{
    h->has_length = parse_number(&v, &h->content_length) && *v == '\0';
}

static void take_range(struct http_head *h, const char *v)
{
    if (strncasecmp(v, "bytes ", 6) != 0)
        return;
    v += 6;
    h->has_range = parse_number(&v, &h->range_first) && *v++ == '-' && parse_number(&v, &h->range_last) &&
                   *v++ == '/' && parse_number(&v, &h->range_whole) && *v == '\0';
}

static int64_t parse_date(const char *v)
{
    time_t t = curl_getdate(v, NULL);
    return t > 0 ? (int64_t)t * 1000 : 0;
}

static void take_text(char *to, size_t room, const char *v)
{
    if (strlen(v) < room)
        snprintf(to, room, "%s", v);
}

static void take_status(struct http_head *h, const char *line)
{
    memset(h, 0, sizeof *h);
    const char *space = strchr(line, ' ');
    uint64_t status;
    if (!space)
        return;
    space++;
    if (parse_number(&space, &status) && status >= 100 && status <= 999)
        h->status = (int)status;
}

void http_head_line(struct http_head *h, const char *bytes, size_t n)
{
    char line[1024];
    while (n && strchr("\r\n \t", bytes[n - 1]))
        n--;
    if (n >= sizeof line || memchr(bytes, '\0', n))
        return;
    memcpy(line, bytes, n);
    line[n] = '\0';
    if (strncasecmp(line, "HTTP/", 5) == 0) {
        take_status(h, line);
        return;
    }
    char *v = strchr(line, ':');
    if (!v)
        return;
    *v++ = '\0';
    v += strspn(v, " \t");
    if (strcasecmp(line, "content-length") == 0)
        take_length(h, v);
    else if (strcasecmp(line, "transfer-encoding") == 0)
        h->is_chunked = strcasecmp(v, "chunked") == 0;
    else if (strcasecmp(line, "content-range") == 0)
        take_range(h, v);
    else if (strcasecmp(line, "date") == 0)
        h->date_ms = parse_date(v);
    else if (strcasecmp(line, "last-modified") == 0)
        h->modified_ms = parse_date(v);
    else if (strcasecmp(line, "etag") == 0)
        take_text(h->etag, sizeof h->etag, v);
    else if (strcasecmp(line, "x-amz-bucket-region") == 0)
        take_text(h->region, sizeof h->region, v);
    else if (strcasecmp(line, "server") == 0)
        h->is_minio = strncasecmp(v, "minio", 5) == 0;
    else if (strcasecmp(line, "location") == 0)
        take_text(h->location, sizeof h->location, v);
}
