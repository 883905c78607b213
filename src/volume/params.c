#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "volume/format/stored.h"
#include "volume/volume.h"

enum err export_params_check(struct export_params *p, struct complaint *c)
{
    char least[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX];
    struct export_params checked = *p;
    if (!checked.block_size)
        checked.block_size = BLOCK_SIZE_DEFAULT;
    if (!checked.object_size)
        checked.object_size = MAX(OBJECT_SIZE_DEFAULT, checked.block_size);
    if (checked.size == 0 || checked.size > INT64_MAX)
        return complain(c, ERR_INVALID, "the size of an export is 1 byte to 2^63 - 1 bytes, not %llu",
                        (unsigned long long)checked.size);
    if (checked.block_size < BLOCK_SIZE_MIN || checked.block_size > BLOCK_SIZE_MAX ||
        (checked.block_size & (checked.block_size - 1)))
        return complain(c, ERR_INVALID, "the block size is a power of two from %s to %s, not %u",
                        size_format(BLOCK_SIZE_MIN, least), size_format(BLOCK_SIZE_MAX, most),
                        checked.block_size);
    if (checked.object_size > OBJECT_SIZE_MAX || checked.object_size % checked.block_size)
        return complain(
            c, ERR_INVALID, "the object size is a multiple of the block size (%s), at most %s, not %u",
            size_format(checked.block_size, least), size_format(OBJECT_SIZE_MAX, most), checked.object_size);
    *p = checked;
    return ERR_OK;
}

static enum err name_check(const char *name, const char *whose, struct complaint *c)
{
    if (!name[0])
        return complain(c, ERR_INVALID, "the name of %s is not empty", whose);
    for (const char *at = name; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return complain(c, ERR_INVALID, "the name of %s has no control characters", whose);
        if (*at == '@')
            return complain(c, ERR_INVALID, "the name of %s has no '@', which goes before a snapshot's name",
                            whose);
    }
    return ERR_OK;
}

enum err snapshot_name_check(const char *name, struct complaint *c)
{
    if (strlen(name) > EXPORT_NAME_MAX)
        return complain(c, ERR_INVALID, "the name of a snapshot has at most %d bytes", EXPORT_NAME_MAX);
    return name_check(name, "a snapshot", c);
}

enum err export_name_check(const char *name, struct complaint *c)
{
    char encoded[EXPORT_NAME_MAX + 1];
    enum err err = name_check(name, "an export", c);
    if (err)
        return err;
    if (name_encode(name, encoded))
        return complain(c, ERR_INVALID,
                        "the name is too long: it has at most %d bytes, where every byte but letters, "
                        "digits, '.', '-' and '_' counts as three",
                        EXPORT_NAME_MAX);
    return ERR_OK;
}

enum err volume_name_split(const char *full, char name[EXPORT_NAME_MAX + 1], const char **snapshot,
                           struct complaint *c)
{
    const char *at = strchr(full, '@');
    size_t n = at ? (size_t)(at - full) : strlen(full);
    char plain[EXPORT_NAME_MAX + 1];
    if (n > EXPORT_NAME_MAX)
        return complain(c, ERR_INVALID, "the name of an export has at most %d bytes", EXPORT_NAME_MAX);
    memcpy(plain, full, n);
    plain[n] = '\0';
    enum err err = export_name_check(plain, c);
    if (!err && at)
        err = snapshot_name_check(at + 1, c);
    if (err)
        return err;
    memcpy(name, plain, n + 1);
    *snapshot = at ? at + 1 : NULL;
    return ERR_OK;
}
