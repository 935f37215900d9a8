/* Hands whole images from one process to another on the same Linux machine, through POSIX shared
 * memory. A sender keeps rewriting a named segment; any number of receivers take its newest frame,
 * each at its own pace. It is not a queue: frames that a receiver did not take in time are skipped,
 * and counted.
 *
 * Status: functions return SHMF_OK, a positive number for what is no error, or a negative number
 * for an error. After each of these but SHMF_OK, shmf_last_error() says what happened, with the
 * numbers and what to do about it.
 *
 * Threads: one thread at a time uses an object, different threads may use different objects.
 * shmf_receiver_cancel() may be called at any time; a frame may be read in several threads, and
 * released in any one of them, also after its receiver is gone.
 *
 * Forks: a sender stays its parent's: in the child its functions return SHMF_FORKED, and destroying
 * it there does nothing to the segment. A receiver goes on in both.
 *
 * Growth: fields are added at the ends of structs only. Options begin with their size, so that a
 * newer library knows what an older program set. Frames are made by the library alone.
 */
#ifndef SHM_FRAME_H
#define SHM_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. shmf_version() is the library's. */
#define SHMF_VERSION "0.1.0"

const char *shmf_version(void);

enum {
    SHMF_OK = 0,

    SHMF_TIMEOUT = 1,   /* no new frame in time */
    SHMF_NO_SENDER = 2, /* no new frame in time, and there is no sender */
    SHMF_ENDED = 3,     /* the sender ended; the next call looks for the next sender */
    SHMF_CANCELLED = 4, /* shmf_receiver_cancel() was called */

    SHMF_INVALID = -1,       /* an argument cannot be: a null pointer, a size, a shape, a name */
    SHMF_NO_ROOM = -2,       /* too little memory in /dev/shm or in this process */
    SHMF_NOT_A_SEGMENT = -3, /* the name is another thing's, or what it holds is no frame */
    SHMF_DENIED = -4,        /* the segment is another user's */
    SHMF_LIVE = -5,          /* another sender is alive and has the name */
    SHMF_TAKEN_OVER = -6,    /* another sender took the name: destroy this one */
    SHMF_LOST = -7,          /* the segment was truncated under the frame; the next one is fine */
    SHMF_FORKED = -8,        /* the sender is the parent process's */
    SHMF_SYSTEM = -9         /* a system call failed */
};

/* What the last call in this thread that did not return SHMF_OK has to say; never NULL. It is valid
 * until the next such call in this thread. */
const char *shmf_last_error(void);

/* ---- What a pixel is ---- */

/* What an element is: OpenCV's depth codes. All are little-endian. */
enum {
    SHMF_U8 = 0,
    SHMF_I8 = 1,
    SHMF_U16 = 2,
    SHMF_I16 = 3,
    SHMF_I32 = 4,
    SHMF_F32 = 5,
    SHMF_F64 = 6,
    SHMF_F16 = 7
};

/* Which colour comes first in a pixel of 3 or 4 elements. Pixels of 1 or 2 are SHMF_BGR. */
enum { SHMF_BGR = 0, SHMF_RGB = 1 };

/* A pixel of 1 to 4 elements, and its parts again. */
#define SHMF_FORMAT(channels, element, order) ((channels) | (element) << 8 | (order) << 16)
#define SHMF_CHANNELS(format) ((format) & 255)
#define SHMF_ELEMENT(format) ((format) >> 8 & 255)
#define SHMF_ORDER(format) ((format) >> 16 & 255)

enum {
    SHMF_GRAY8 = SHMF_FORMAT(1, SHMF_U8, SHMF_BGR),
    SHMF_BGR8 = SHMF_FORMAT(3, SHMF_U8, SHMF_BGR),
    SHMF_BGRA8 = SHMF_FORMAT(4, SHMF_U8, SHMF_BGR),
    SHMF_RGB8 = SHMF_FORMAT(3, SHMF_U8, SHMF_RGB),
    SHMF_RGBA8 = SHMF_FORMAT(4, SHMF_U8, SHMF_RGB),
    SHMF_GRAY16 = SHMF_FORMAT(1, SHMF_U16, SHMF_BGR), /* and depth in mm, of depth cameras */
    SHMF_GRAY32F = SHMF_FORMAT(1, SHMF_F32, SHMF_BGR)
};

typedef struct shmf_shape {
    int32_t width;  /* pixels per row */
    int32_t height; /* rows */
    int32_t format; /* SHMF_BGR8, or another SHMF_FORMAT() */
} shmf_shape;

/* Bytes of all pixels; 0 if no image has this shape. */
size_t shmf_shape_bytes(shmf_shape shape);

/* ---- Senders ---- */

typedef struct shmf_sender shmf_sender;

/* All zeros but the size are the defaults. */
typedef struct shmf_sender_options {
    size_t size;      /* sizeof(shmf_sender_options) */
    size_t capacity;  /* bytes of the largest image expected (0: 640x480x4); the segment grows for
                         larger ones */
    uint32_t slots;   /* 1 to 16 (0: 4); all but two can be leased at a time */
    uint32_t mode;    /* permission bits of the segment (0: 0600) */
    uint32_t replace; /* not 0: take the name over even from a live sender */
    uint32_t reserved; /* 0 */
} shmf_sender_options;

/* What a sender tells of a frame besides its pixels. */
typedef struct shmf_extras {
    size_t size;          /* sizeof(shmf_extras) */
    uint64_t captured_ns; /* Unix time in ns at which the picture was taken; 0: not known */
    const void *meta;     /* bytes of the sender's own: JSON by convention */
    size_t meta_len;      /* how many; 0: none, and meta may be NULL */
} shmf_extras;

/* Makes the segment /NAME. options may be NULL. */
int shmf_sender_create(const char *name, const shmf_sender_options *options, shmf_sender **sender);

/* Copies an image into a slot and publishes it. Its rows begin stride bytes apart; 0: one follows
 * the other without padding. extras and number may be NULL; number is set to the frame's number,
 * which counts from 1. */
int shmf_sender_publish(shmf_sender *sender, shmf_shape shape, const void *pixels, size_t stride,
                        const shmf_extras *extras, uint64_t *number);

/* Lends a slot to be filled in place: rows without padding, aligned to 8 bytes, holding any values.
 * The frame's delay counts from here. meta_room: bytes of meta that the frame may get. The memory
 * may be written until the loan is published or discarded; after that it may be unmapped. */
int shmf_sender_loan(shmf_sender *sender, shmf_shape shape, size_t meta_room, void **pixels);

/* Publishes the loan. With SHMF_INVALID the loan stays open, with any other status it is over. */
int shmf_sender_publish_loan(shmf_sender *sender, const shmf_extras *extras, uint64_t *number);

/* Gives the loan up, so that nobody sees it. Nothing happens if there is none. */
void shmf_sender_discard_loan(shmf_sender *sender);

/* Looks after the segment. Every publication and loan does; a sender that publishes less than ten
 * times a second calls this in between. */
int shmf_sender_tend(shmf_sender *sender);

/* Tells the receivers, and removes the name. An open loan is given up. NULL is fine. */
void shmf_sender_destroy(shmf_sender *sender);

/* ---- Receivers ---- */

typedef struct shmf_receiver shmf_receiver;

/* How to wait. */
enum {
    SHMF_SLEEP = 0,   /* until the sender wakes this process: tens of microseconds */
    SHMF_PREDICT = 1, /* sleep until shortly before the next frame of a steady stream, then watch */
    SHMF_SPIN = 2     /* watch all the time: takes a processor */
};

/* All zeros but the size are the defaults. */
typedef struct shmf_receiver_options {
    size_t size;        /* sizeof(shmf_receiver_options) */
    uint32_t wait_mode; /* SHMF_SLEEP, ... */
    uint32_t read_only; /* not 0: open segments for reading only, even if they may be written; the
                           first frames are copied then, later ones are read in place */
} shmf_receiver_options;

/* How a frame came over. */
enum {
    SHMF_LEASED = 0, /* it is read in place */
    SHMF_COPIED = 1, /* copied, and known to be whole */
    SHMF_PLAIN = 2,  /* copied from a sender that knows only the 24-byte header: it may be torn */
    SHMF_LEASED_READ_ONLY = 3 /* it is read in place, and this process may only read the segment */
};

/* A frame that was received. It does not change while it is held. */
typedef struct shmf_frame {
    const void *pixels;    /* rows without padding, aligned to 8 bytes. Memory that is read in place
                              is mapped read-only: writing there is a SIGSEGV */
    size_t pixels_len;     /* bytes of all pixels */
    const void *meta;      /* bytes of the sender's own: JSON by convention; NULL for none */
    size_t meta_len;       /* how many */
    shmf_shape shape;      /* width, height and format */
    int32_t via;           /* SHMF_LEASED, ... */
    uint64_t number;       /* the sender's count, from 1 */
    uint64_t session;      /* the same for all frames of one sender */
    uint64_t skipped;      /* published since the last frame taken, and never seen here */
    uint64_t captured_ns;  /* Unix time in ns at which the picture was taken; 0: not known */
    uint64_t begun_ns;     /* CLOCK_MONOTONIC before the sender wrote a byte; 0: not known */
    uint64_t published_ns; /* CLOCK_MONOTONIC after it wrote the last one; 0: not known */
    int64_t sent_ms;       /* Unix time in ms when the sender began to write */
    int64_t received_ms;   /* Unix time in ms when it was received */
    int64_t delay_ns;      /* from begun_ns until the frame was found or copied here */
    bool found;            /* it was there before this receiver came: delay_ns is its age */
} shmf_frame;

/* Follows the name /NAME: sender and receiver may start in any order, and each may be restarted.
 * options may be NULL. */
int shmf_receiver_open(const char *name, const shmf_receiver_options *options,
                       shmf_receiver **receiver);

/* Waits for a frame that is newer than the last one taken. timeout_ns: 0 looks once, a negative
 * number waits for ever.
 *
 * Frames are leased as long as there are lease entries: slots - 2 for all receivers together.
 * Beyond that they are copies; and for the first 0.2 s where this process may only read the segment
 * (SHMF_LEASED_READ_ONLY), or all the time if the sender is of version 0.1.0. */
int shmf_receiver_receive(shmf_receiver *receiver, int64_t timeout_ns, const shmf_frame **frame);

/* Ends the receive() that is going on, or else the next one. May be called from any thread and from
 * signal handlers. */
void shmf_receiver_cancel(const shmf_receiver *receiver);

/* Frames that were received stay. NULL is fine. */
void shmf_receiver_destroy(shmf_receiver *receiver);

/* false: another process truncated or overwrote the segment meanwhile, and parts of the frame were
 * read as zeros; or it made this process lose a lease of a segment that it may only read, and parts
 * were read of another frame. Ask before using a result. */
bool shmf_frame_is_intact(const shmf_frame *frame);

/* NULL is fine. */
void shmf_frame_release(const shmf_frame *frame);

#ifdef __cplusplus
}
#endif
#endif
