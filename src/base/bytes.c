#include "base/bytes.h"

#include <stdio.h>

void hex_encode(const void *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = bytes;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[b[i] >> 4];
        out[2 * i + 1] = digits[b[i] & 15];
    }
    out[2 * n] = '\0';
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(const char *text, void *bytes, size_t n)
{
    uint8_t *b = bytes;
    for (size_t i = 0; i < n; i++) {
        int high = digit(text[2 * i]);
        int low = high < 0 ? -1 : digit(text[2 * i + 1]);
        if (low < 0)
            return false;
        b[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * n] == '\0';
}

bool bytes_are_zero(const void *bytes, size_t n)
{
    const uint8_t *b = bytes;
    size_t head = MIN(n, (size_t)16);
    for (size_t i = 0; i < head; i++)
        if (b[i])
            return false;
    return n <= 16 || memcmp(b, b + 16, n - 16) == 0;
}

/* Digits, one point at most; the value is whole + fraction / scale. */
static const char *parse_number(const char *s, uint64_t *whole, uint64_t *fraction, uint64_t *scale)
{
    const char *start = s;
    *whole = *fraction = 0;
    *scale = 1;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(*whole, 10u, whole) ||
            __builtin_add_overflow(*whole, (uint64_t)(*s - '0'), whole))
            return NULL;
    if (s == start)
        return NULL;
    if (*s != '.')
        return s;
    const char *point = s++;
    for (; *s >= '0' && *s <= '9' && *scale < 1000000000; s++) {
        *fraction = *fraction * 10 + (uint64_t)(*s - '0');
        *scale *= 10;
    }
    return s == point + 1 ? NULL : s;
}

static bool scaled(uint64_t whole, uint64_t fraction, uint64_t scale, uint64_t unit, uint64_t *out)
{
    uint128 parts = (uint128)fraction * unit;
    uint128 v = (uint128)whole * unit + parts / scale;
    if (parts % scale || v > INT64_MAX)
        return false;
    *out = (uint64_t)v;
    return true;
}

bool size_parse(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGTPE";
    uint64_t whole, fraction, scale;
    const char *s = parse_number(text, &whole, &fraction, &scale);
    if (!s)
        return false;
    unsigned shift = 0;
    char upper = *s >= 'a' && *s <= 'z' ? (char)(*s - 'a' + 'A') : *s;
    const char *u = upper ? strchr(units, upper) : NULL;
    if (u) {
        shift = 10 * (unsigned)(u - units + 1);
        s++;
        if (*s == 'i')
            s++;
    }
    if (*s == 'B' || *s == 'b')
        s++;
    return *s == '\0' && scaled(whole, fraction, scale, (uint64_t)1 << shift, bytes);
}

const char *size_format(uint64_t bytes, char out[SIZE_TEXT_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t u = 0;
    double v = (double)bytes;
    while (v >= 1024 && u + 1 < COUNT_OF(units)) {
        v /= 1024;
        u++;
    }
    bool whole = v == (double)(uint64_t)v;
    snprintf(out, SIZE_TEXT_MAX, whole ? "%.0f %s" : "%.1f %s", v, units[u]);
    return out;
}

bool duration_parse(const char *text, uint64_t *ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"", 1000000000}, {"s", 1000000000}, {"ms", 1000000}, {"m", 60000000000}, {"h", 3600000000000}};
    uint64_t whole, fraction, scale, v;
    const char *s = parse_number(text, &whole, &fraction, &scale);
    if (!s)
        return false;
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (strcmp(s, units[i].name) == 0) {
            if (!scaled(whole, fraction, scale, units[i].ns, &v) || v > UINT64_C(315360000000000000))
                return false;
            *ns = v;
            return true;
        }
    return false;
}
