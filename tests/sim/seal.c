#include "seal.h"

#include "base/bytes.h"
#include "base/mark.h"
#include "volume/format/record.h"

bool seal_put(struct bucket *b, const char *export_name, const struct manifest *m, uint64_t slot)
{
    static const uint8_t nonce[16] = {1, 2, 3};
    uint8_t seal[SEAL_BYTES], id[16], folder[8];
    struct key k;
    sim_expect(b->sim, hex_decode(m->id, id, sizeof id) && hex_decode(m->folder, folder, sizeof folder));
    seal_encode(seal, id, m->epoch, folder, slot, "00000000000000000000000000000abc", nonce);
    key_log_slot(&k, export_name, m->id, m->epoch, m->folder, slot);
    if (bucket_find(b, k.text))
        return false;
    bucket_put(b, k.text, seal, sizeof seal);
    sim_trace(b->sim, "%s: a seal arrives at slot %llu of epoch %u", export_name, (unsigned long long)slot,
              m->epoch);
    return true;
}

void seal_something(struct sim *s, const char *export_name)
{
    struct key k;
    struct manifest m = {0};
    key_manifest(&k, export_name);
    const struct object *o = bucket_find(s->bucket, k.text);
    if (!o || manifest_parse(o->body, o->bytes, &m, NULL) != ERR_OK)
        return;
    uint64_t slot = m.position && sim_below(s, 4) == 0 ? sim_below(s, m.position) : m.position;
    if (m.state == MANIFEST_OPEN) {
        while (!seal_put(s->bucket, export_name, &m, slot))
            slot++;
        mark_hit("sim.sealed");
    }
    manifest_finish(&m);
}
