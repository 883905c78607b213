/* list.h - doubly linked list whose links are embedded in the elements. A zeroed link is in no list. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *prev, *next;
};

struct list {
    struct link head; /* a ring through head; set up by list_init */
};

#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->head.prev = l->head.next = &l->head;
}

static inline bool list_empty(const struct list *l)
{
    return l->head.next == &l->head;
}

static inline bool link_in_list(const struct link *k)
{
    return k->next != NULL;
}

static inline void link_before(struct link *k, struct link *where)
{
    assert(where->prev);
    k->prev = where->prev;
    k->next = where;
    where->prev->next = k;
    where->prev = k;
}

static inline void list_push(struct list *l, struct link *k) /* at the end */
{
    link_before(k, &l->head);
}

static inline void list_push_front(struct list *l, struct link *k)
{
    link_before(k, l->head.next);
}

static inline void list_remove(struct link *k) /* harmless when in no list */
{
    if (!k->next)
        return;
    k->prev->next = k->next;
    k->next->prev = k->prev;
    k->prev = k->next = NULL;
}

static inline struct link *list_first(const struct list *l) /* NULL when empty */
{
    return list_empty(l) ? NULL : l->head.next;
}

static inline struct link *list_last(const struct list *l)
{
    return list_empty(l) ? NULL : l->head.prev;
}

static inline struct link *list_pop(struct list *l)
{
    struct link *k = list_first(l);
    if (k)
        list_remove(k);
    return k;
}

static inline struct link *list_next(const struct list *l, const struct link *k)
{
    return k->next == &l->head ? NULL : k->next;
}

static inline void list_move_all(struct list *to,
                                 struct list *from) /* appended in order; from is empty after */
{
    if (list_empty(from))
        return;
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    list_init(from);
}

#define LIST_ENTRY(k, type, member) /* NULL for NULL */                                                      \
    (__extension__({                                                                                         \
        struct link *list_entry_k = (k);                                                                     \
        list_entry_k ? CONTAINER_OF(list_entry_k, type, member) : NULL;                                      \
    }))
/* The body may remove the element it is at, and no other. */
#define LIST_EACH(l, k)                                                                                      \
    for (struct link *k = (l)->head.next, *k##_next = k->next; k != &(l)->head;                              \
         k = k##_next, k##_next = k->next)

#endif
