/* Manifests, heartbeats and the format object: what stands behind the first line. What is accepted is the
 * same when it is encoded and read again. */
#include "sealed.h"
#include "volume/format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void manifest_accepted(struct manifest *m)
{
    struct manifest back, copy;
    struct buf *once = manifest_encode(m);
    EXPECT(manifest_parse(once->data, once->bytes, &back, NULL) == ERR_OK);
    manifest_copy(&copy, &back);
    manifest_finish(&back);
    struct buf *twice = manifest_encode(&copy);
    manifest_finish(&copy);
    EXPECT(once->bytes == twice->bytes && memcmp(once->data, twice->data, once->bytes) == 0);
    buf_unref(once);
    buf_unref(twice);
}

static void heartbeat_accepted(const struct heartbeat *h)
{
    struct heartbeat back;
    struct buf *once = heartbeat_encode(h);
    EXPECT(heartbeat_parse(once->data, once->bytes, &back, NULL) == ERR_OK);
    EXPECT(back.serial == h->serial && back.process.pid == h->process.pid &&
           strcmp(back.addresses, h->addresses) == 0 && strcmp(back.process.host, h->process.host) == 0);
    buf_unref(once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct manifest m;
    struct heartbeat h;
    struct complaint c = {{0}};
    uint8_t *text = sealed_document(data, n);
    n += SEALED_LINE;
    if (manifest_parse(text, n, &m, &c) == ERR_OK) {
        manifest_accepted(&m);
        manifest_finish(&m);
    } else {
        EXPECT(c.text[0]);
    }
    if (heartbeat_parse(text, n, &h, &c) == ERR_OK)
        heartbeat_accepted(&h);
    enum err err = format_parse(text, n, &c);
    EXPECT(err == ERR_OK || err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
    mem_free(text);
    return 0;
}
