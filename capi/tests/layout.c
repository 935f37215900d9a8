/* The structs of shm_frame.h stand in memory as the library has them: what follows breaks programs
 * that are already compiled, if it changes. */
#include <assert.h>
#include <stddef.h>

#include "shm_frame.h"

#define AT(type, field, offset) static_assert(offsetof(type, field) == (offset), #type "." #field)
#define SIZE(type, size) static_assert(sizeof(type) == (size), #type)

SIZE(shmf_shape, 12);
AT(shmf_shape, width, 0);
AT(shmf_shape, height, 4);
AT(shmf_shape, format, 8);

SIZE(shmf_sender_options, 32);
AT(shmf_sender_options, size, 0);
AT(shmf_sender_options, capacity, 8);
AT(shmf_sender_options, slots, 16);
AT(shmf_sender_options, mode, 20);
AT(shmf_sender_options, replace, 24);
AT(shmf_sender_options, reserved, 28);

SIZE(shmf_extras, 32);
AT(shmf_extras, size, 0);
AT(shmf_extras, captured_ns, 8);
AT(shmf_extras, meta, 16);
AT(shmf_extras, meta_len, 24);

SIZE(shmf_receiver_options, 16);
AT(shmf_receiver_options, size, 0);
AT(shmf_receiver_options, wait_mode, 8);
AT(shmf_receiver_options, read_only, 12);

SIZE(shmf_frame, 128);
AT(shmf_frame, pixels, 0);
AT(shmf_frame, pixels_len, 8);
AT(shmf_frame, meta, 16);
AT(shmf_frame, meta_len, 24);
AT(shmf_frame, shape, 32);
AT(shmf_frame, via, 44);
AT(shmf_frame, number, 48);
AT(shmf_frame, session, 56);
AT(shmf_frame, skipped, 64);
AT(shmf_frame, captured_ns, 72);
AT(shmf_frame, begun_ns, 80);
AT(shmf_frame, published_ns, 88);
AT(shmf_frame, sent_ms, 96);
AT(shmf_frame, received_ms, 104);
AT(shmf_frame, delay_ns, 112);
AT(shmf_frame, found, 120);

static_assert(SHMF_GRAY8 == 1 && SHMF_BGR8 == 3 && SHMF_BGRA8 == 4,
              "as the header always had them");
static_assert(SHMF_FORMAT(3, SHMF_U16, SHMF_BGR) == 515, "3 x u16");
static_assert(SHMF_RGB8 == 0x10003, "red first");
static_assert(SHMF_CHANNELS(0x10503) == 3 && SHMF_ELEMENT(0x10503) == SHMF_F32 &&
                  SHMF_ORDER(0x10503) == SHMF_RGB,
              "the parts of a format");
