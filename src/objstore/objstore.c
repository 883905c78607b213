#include "objstore/objstore.h"

#include <assert.h>

#include "base/mem.h"

void objstore_submit(struct objstore *s, struct objstore_req *r)
{
    assert(r->done && r->key && !r->store);
    r->err = ERR_OK;
    r->complaint.text[0] = '\0';
    r->content = NULL;
    r->object_bytes = 0;
    r->modified_ms = r->date_ms = 0;
    r->entries = NULL;
    r->entry_count = 0;
    r->truncated = false;
    if (r->condition != OBJSTORE_MATCH || r->verb != OBJSTORE_PUT)
        r->etag[0] = '\0';
    r->store = s;
    s->ops->submit(s, r);
}

void objstore_cancel(struct objstore_req *r)
{
    if (r->store)
        r->store->ops->cancel(r->store, r);
}

static void answered(struct task *t)
{
    struct objstore_req *r = CONTAINER_OF(t, struct objstore_req, task);
    r->store = NULL;
    r->done(r);
}

void objstore_answer(struct objstore_req *r)
{
    assert(r->store);
    r->task.run = answered;
    loop_post(r->store->loop, &r->task);
}

const char *objstore_name(const struct objstore *s)
{
    return s->ops->name(s);
}

void objstore_destroy(struct objstore *s)
{
    if (s)
        s->ops->destroy(s);
}

void objstore_entries_free(struct objstore_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(entries[i].key);
    mem_free(entries);
}
