/* The handshake: the first byte says how the input is sliced and whether the client reads; the rest is what
 * it sends.
 *
 * Checked: what is answered is well-formed option by option; as many options are answered as were sent whole;
 * memory waiting to be sent is bounded; input in slices is answered like input in one piece. */
#include <string.h>

#include "fuzz_reader.h"
#include "nbd_peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Replies to the options the client sent, until one that ends the handshake. */
static void check_replies(const struct peer *p, const uint8_t *sent, size_t n)
{
    struct reader in = {sent, sent + n}, out = {p->out, p->out + p->out_bytes};
    read_greeting(&out);
    if (reader_left(&in) < 4)
        return;
    reader_take(&in, 4);
    while (reader_left(&out)) {
        uint32_t rep;
        EXPECT(reader_take64(&in) == NBD_IHAVEOPT);
        uint32_t option = reader_take32(&in);
        reader_take(&in, reader_take32(&in));
        if (option == NBD_OPT_EXPORT_NAME)
            return;
        while (!read_option_reply(&out, option, &rep))
            ;
        if (rep == NBD_REP_ACK && (option == NBD_OPT_GO || option == NBD_OPT_ABORT))
            return;
    }
}

static size_t run(struct peer *p, const uint8_t *data, size_t n, size_t slice, bool reads)
{
    peer_init(p);
    if (!reads)
        p->send_limit = 0;
    peer_send(p);
    size_t taken = peer_feed(p, data, n, slice);
    EXPECT(nbd_output_bytes(&p->nbd) < NBD_OUTPUT_HIGH + (1 << 20));
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct peer sliced, whole;
    if (n < 2)
        return 0;
    size_t slice = (data[0] & 63u) + 1u;
    bool reads = !(data[0] & 64);
    size_t taken = run(&sliced, data + 1, n - 1, slice, reads);
    if (reads) {
        check_replies(&sliced, data + 1, taken);
        run(&whole, data + 1, n - 1, SIZE_MAX, true);
        EXPECT(sliced.out_bytes == whole.out_bytes);
        EXPECT(memcmp(sliced.out, whole.out, whole.out_bytes) == 0);
        EXPECT(nbd_end(&sliced.nbd) == nbd_end(&whole.nbd));
        peer_finish(&whole);
    }
    nbd_eof(&sliced.nbd);
    EXPECT(nbd_idle(&sliced.nbd) || sliced.nbd.state == NBD_OPTION_ASKED || peer_under_way(&sliced));
    peer_finish(&sliced);
    return 0;
}
