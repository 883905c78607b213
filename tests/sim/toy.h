/* toy.h - an engine small enough to be right by looking at it, and the mistakes that the models must find in
 * it.
 *
 * An export is one object: a header and the whole image, replaced by compare-and-swap at each FLUSH.
 */
#ifndef SIM_TOY_H
#define SIM_TOY_H

enum toy_bug {
    TOY_NO_BUG,
    TOY_FLUSH_WITHOUT_STORING, /* now and then a FLUSH is answered at once */
    TOY_FLUSH_JOINS_LATE,      /* a FLUSH is answered by a PUT that was sent before it */
    TOY_TORN,                  /* the image is stored in two halves, one after the other */
    TOY_STALE_READ,            /* now and then a READ sees what was flushed last */
    TOY_NO_CONDITION,          /* FLUSH replaces whatever is there */
    TOY_UNKNOWN_IS_OK,         /* a lost answer is taken for success */
    TOY_NO_BREAKS,             /* takeovers are not counted */
    TOY_REORDER,               /* now and then a WRITE over newer data wins when it is stored */
    TOY_HOLES_LIE,             /* STATUS shows holes for data */
    TOY_LEAK,                  /* the image stays behind when it is closed */
    TOY_HANG,                  /* now and then a request is never answered */
    TOY_BUGS,
};

extern enum toy_bug toy_bug;
extern const char *const toy_bug_names[TOY_BUGS];

#endif
