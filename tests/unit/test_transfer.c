#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/prng.h"
#include "cli/exporter.h"
#include "cli/importer.h"
#include "cli/volume_run.h"
#include "loop/uv_loop.h"
#include "ram_volume.h"

static struct runtime runtime;
static char folder[64], image[80], copy[80];

static int begin(void **state)
{
    (void)state;
    memset(&runtime, 0, sizeof runtime);
    runtime.loop = uv_loop_create();
    runtime.engine = ram_engine_create(runtime.loop, 4 * MIB);
    strcpy(folder, "/tmp/ashlar-transfer-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(image, sizeof image, "%s/image", folder);
    snprintf(copy, sizeof copy, "%s/copy", folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    ram_engine_destroy(runtime.engine);
    uv_loop_destroy(runtime.loop);
    unlink(image);
    unlink(copy);
    rmdir(folder);
    return 0;
}

static void write_at(int fd, uint64_t seed, size_t bytes, off_t offset)
{
    struct prng p;
    prng_seed(&p, seed);
    uint8_t *data = mem_alloc(bytes + 8);
    for (size_t i = 0; i < bytes; i += 8)
        put_le64(data + i, prng_next(&p));
    assert_int_equal(pwrite(fd, data, bytes, offset), bytes);
    mem_free(data);
}

/* 40 MiB and a bit: data, holes, written zeros, a last piece that is no whole block. */
static uint64_t make_image(void)
{
    uint64_t size = 40 * MIB + 1000;
    int fd = open(image, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    write_at(fd, 1, 5 * MIB + 4096, 0);
    write_at(fd, 2, 777, 10 * MIB + 13);
    write_at(fd, 3, 9 * MIB, 20 * MIB - 4096);
    uint8_t *zeros = mem_calloc(1, 3 * MIB);
    assert_int_equal(pwrite(fd, zeros, 3 * MIB, 22 * MIB), 3 * MIB);
    mem_free(zeros);
    write_at(fd, 4, 300, (off_t)size - 300);
    close(fd);
    return size;
}

static struct volume *open_new(uint64_t size, uint32_t block_size)
{
    struct export_params p = {.size = size, .block_size = block_size};
    struct complaint c = {.text = ""};
    assert_int_equal(export_params_check(&p, &c), ERR_OK);
    struct volume *v = NULL;
    assert_int_equal(volume_run_open(&runtime, "disk", &p, &v, &c), ERR_OK);
    return v;
}

static enum err import_from(struct importer *m, struct source *s, struct volume *v)
{
    enum err e = importer_run(m, &runtime, s, v);
    source_close(s);
    return e;
}

static void import_file(struct volume *v, uint64_t data_bytes_max)
{
    static struct importer m;
    struct source s;
    struct complaint c;
    assert_int_equal(source_open(&s, image, &c), ERR_OK);
    assert_false(s.stream);
    assert_int_equal(import_from(&m, &s, v), ERR_OK);
    assert_true(m.data_bytes > 0 && m.data_bytes <= data_bytes_max);
    assert_int_equal(m.progress.done, m.size);
}

static void export_file(struct volume *v, uint64_t size)
{
    static struct exporter x;
    struct target t;
    struct complaint c;
    assert_int_equal(target_open(&t, copy, size, &c), ERR_OK);
    assert_int_equal(exporter_run(&x, &runtime, v, &t), ERR_OK);
    assert_int_equal(target_finish(&t, size), 0);
    assert_int_equal(x.progress.done, size);
}

static uint8_t *content(const char *path, uint64_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    *size = (uint64_t)st.st_size;
    uint8_t *bytes = mem_alloc(*size + 1);
    assert_int_equal(read(fd, bytes, *size), *size);
    close(fd);
    return bytes;
}

static void assert_same_content(void)
{
    uint64_t n, m;
    uint8_t *a = content(image, &n), *b = content(copy, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    mem_free(a);
    mem_free(b);
}

static uint64_t space_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void a_sparse_image_comes_back_as_it_was(void **state)
{
    (void)state;
    uint64_t size = make_image();
    struct volume *v = open_new(size, 64 << 10);
    import_file(v, 13 * MIB);
    export_file(v, size);
    assert_same_content();
    assert_true(space_of(copy) < 14 * MIB);
    assert_int_equal(volume_run_close(&runtime, v), ERR_OK);
}

static void blocks_larger_than_a_chunk_are_kept_whole(void **state)
{
    (void)state;
    uint64_t size = make_image();
    struct volume *v = open_new(size, 4 << 20);
    import_file(v, 41 * MIB);
    export_file(v, size);
    assert_same_content();
    assert_int_equal(volume_run_close(&runtime, v), ERR_OK);
}

/* ------------------------------------------------------------------ streams */

struct feeder {
    struct job job;
    int fd;
    const char *path;
};

static void feed(struct job *j)
{
    struct feeder *f = CONTAINER_OF(j, struct feeder, job);
    uint64_t size;
    uint8_t *bytes = content(f->path, &size);
    for (uint64_t at = 0; at < size;) {
        ssize_t n = write(f->fd, bytes + at, MIN(size - at, (uint64_t)70001));
        if (n < 0)
            break;
        at += (uint64_t)n;
    }
    mem_free(bytes);
    close(f->fd);
}

static void drain(struct job *j)
{
    struct feeder *f = CONTAINER_OF(j, struct feeder, job);
    int out = open(f->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    static uint8_t bytes[100003];
    ssize_t n;
    while ((n = read(f->fd, bytes, sizeof bytes)) > 0)
        assert_int_equal(write(out, bytes, (size_t)n), n);
    close(out);
    close(f->fd);
}

static void fed(struct job *j)
{
    (void)j;
}

static struct source stream_of(struct feeder *f)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    *f = (struct feeder){.job = {.work = feed, .done = fed}, .fd = ends[1], .path = image};
    job_start(runtime.loop, &f->job);
    return (struct source){.fd = ends[0], .shown = "a pipe", .stream = true};
}

static void run_out(void)
{
    uv_loop_run(runtime.loop);
}

static void a_stream_goes_in_and_comes_out_in_order(void **state)
{
    (void)state;
    static struct importer m;
    static struct exporter x;
    struct feeder in, out;
    uint64_t size = make_image();
    struct volume *v = open_new(size, 64 << 10);
    struct source s = stream_of(&in);
    assert_int_equal(import_from(&m, &s, v), ERR_OK);
    assert_int_equal(m.read_bytes, size);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    out = (struct feeder){.job = {.work = drain, .done = fed}, .fd = ends[0], .path = copy};
    job_start(runtime.loop, &out.job);
    struct target t = {.fd = ends[1], .shown = "a pipe", .kind = TARGET_STREAM};
    assert_int_equal(exporter_run(&x, &runtime, v, &t), ERR_OK);
    assert_int_equal(target_finish(&t, size), 0);
    run_out();
    assert_same_content();
    assert_int_equal(volume_run_close(&runtime, v), ERR_OK);
}

static void a_short_stream_leaves_the_rest_empty(void **state)
{
    (void)state;
    static struct importer m;
    struct feeder in;
    uint64_t size = make_image();
    struct volume *v = open_new(size + 5 * MIB, 64 << 10);
    struct source s = stream_of(&in);
    assert_int_equal(import_from(&m, &s, v), ERR_OK);
    assert_int_equal(m.read_bytes, size);
    export_file(v, size + 5 * MIB);
    assert_int_equal(truncate(image, (off_t)(size + 5 * MIB)), 0);
    assert_same_content();
    assert_int_equal(volume_run_close(&runtime, v), ERR_OK);
    run_out(); /* the feeder may have closed its end and not returned yet */
}

static void a_long_stream_is_refused(void **state)
{
    (void)state;
    static struct importer m;
    struct feeder in;
    uint64_t size = make_image();
    struct volume *v = open_new(size - 1, 64 << 10);
    struct source s = stream_of(&in);
    assert_int_equal(import_from(&m, &s, v), ERR_INVALID);
    assert_string_equal(m.complaint.text, "a pipe goes on after the 41944039 bytes that --size says");
    run_out();
    assert_int_equal(volume_run_close(&runtime, v), ERR_OK);
}

/* ------------------------------------------------------------------- faults */

static void a_full_store_ends_the_import_with_a_reason(void **state)
{
    (void)state;
    static struct importer m;
    struct source s;
    struct complaint c;
    struct volume *v = open_new(make_image(), 64 << 10);
    ram_faults(runtime.engine)->full = true;
    assert_int_equal(source_open(&s, image, &c), ERR_OK);
    assert_int_equal(import_from(&m, &s, v), ERR_NOSPACE);
    assert_non_null(strstr(m.complaint.text, "no space left in the store"));
    assert_false(m.unfinished);
    assert_int_equal(ram_payload_bytes(runtime.engine), 0);
    ram_faults(runtime.engine)->full = false;
    volume_run_abandon(&runtime, v);
}

static void damage_ends_the_export_with_a_reason(void **state)
{
    (void)state;
    static struct exporter x;
    struct target t;
    struct complaint c;
    uint64_t size = make_image();
    struct volume *v = open_new(size, 64 << 10);
    import_file(v, 13 * MIB);
    ram_faults(runtime.engine)->corrupt_below = 1;
    assert_int_equal(target_open(&t, copy, size, &c), ERR_OK);
    assert_int_equal(exporter_run(&x, &runtime, v, &t), ERR_CORRUPT);
    assert_non_null(strstr(x.complaint.text, "reading at 0 failed"));
    assert_int_equal(target_finish(&t, size), 0);
    assert_int_equal(volume_run_close(&runtime, v), ERR_OK);
}

static void interrupt_now(struct timer *t)
{
    (void)t;
    if (runtime.interrupted)
        runtime.interrupted(&runtime, ++runtime.interrupts);
}

static void an_interrupt_ends_a_stream_that_does_not_come(void **state)
{
    (void)state;
    static struct importer m;
    struct volume *v = open_new(10 * MIB, 64 << 10);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct source s = {.fd = ends[0], .shown = "a pipe", .stream = true};
    struct timer soon = {.fire = interrupt_now};
    timer_start(runtime.loop, &soon, 50 * NS_PER_MS);
    assert_int_equal(import_from(&m, &s, v), ERR_CANCELED);
    assert_false(m.unfinished);
    close(ends[1]);
    volume_run_abandon(&runtime, v);
}

static void a_held_export_is_not_opened(void **state)
{
    (void)state;
    struct export_params p = {.size = MIB};
    struct complaint c = {.text = ""};
    struct volume *v;
    assert_int_equal(export_params_check(&p, &c), ERR_OK);
    ram_faults(runtime.engine)->held = "disk";
    assert_int_equal(volume_run_open(&runtime, "disk", &p, &v, &c), ERR_HELD);
    assert_true(c.text[0] != '\0');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
RUN_TESTS(TEST(a_sparse_image_comes_back_as_it_was), TEST(blocks_larger_than_a_chunk_are_kept_whole),
          TEST(a_stream_goes_in_and_comes_out_in_order), TEST(a_short_stream_leaves_the_rest_empty),
          TEST(a_long_stream_is_refused), TEST(a_full_store_ends_the_import_with_a_reason),
          TEST(damage_ends_the_export_with_a_reason), TEST(an_interrupt_ends_a_stream_that_does_not_come),
          TEST(a_held_export_is_not_opened))
