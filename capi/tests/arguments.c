/* Arguments that cannot be are errors with words, and a C program does without C++. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm_frame.h"

static int passed, failed;

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (condition) {                                                                 \
            ++passed;                                                                    \
        } else {                                                                         \
            ++failed;                                                                    \
            printf("FAILED line %d: %s: %s\n", __LINE__, #condition, shmf_last_error()); \
        }                                                                                \
    } while (0)

static int refused(int status, const char* words) {
    return status == SHMF_INVALID && strstr(shmf_last_error(), words) != NULL;
}

int main(void) {
    char name[64];
    snprintf(name, sizeof name, "/shm-frame-test-c-arguments-%d", getpid());
    CHECK(strcmp(shmf_version(), SHMF_VERSION) == 0);
    CHECK(strcmp(shmf_last_error(), "") == 0);

    /* Names. */
    shmf_sender* sender = (shmf_sender*)name;
    CHECK(refused(shmf_sender_create(NULL, NULL, &sender), "the name is NULL"));
    CHECK(sender == NULL);
    CHECK(refused(shmf_sender_create("a/b", NULL, &sender), "has a slash inside"));
    CHECK(refused(shmf_sender_create("\xff", NULL, &sender), "not UTF-8"));
    CHECK(refused(shmf_sender_create(name, NULL, NULL), "sender is NULL"));
    shmf_receiver* receiver = NULL;
    CHECK(refused(shmf_receiver_open("", NULL, &receiver), "is empty"));
    CHECK(refused(shmf_receiver_open(name, NULL, NULL), "receiver is NULL"));

    /* Options. */
    shmf_sender_options options = {0};
    CHECK(refused(shmf_sender_create(name, &options, &sender),
                  "set its size to sizeof(shmf_sender_options), which is 32"));
    options.size = sizeof options - 1;
    CHECK(refused(shmf_sender_create(name, &options, &sender), "of 31 bytes"));
    memset(&options.size, 0xff, sizeof options.size);
    CHECK(refused(shmf_sender_create(name, &options, &sender), "set its size"));
    struct {
        shmf_sender_options known;
        uint64_t later;
    } newer = {{.size = sizeof newer}, 1};
    CHECK(refused(shmf_sender_create(name, &newer.known, &sender),
                  "does not know: it knows 32 bytes"));
    options = (shmf_sender_options){.size = sizeof options, .slots = 17};
    CHECK(refused(shmf_sender_create(name, &options, &sender), "17 slots"));
    options = (shmf_sender_options){.size = sizeof options, .reserved = 1};
    CHECK(refused(shmf_sender_create(name, &options, &sender), "reserved"));
    shmf_receiver_options mode = {.size = sizeof mode, .wait_mode = 3};
    CHECK(refused(shmf_receiver_open(name, &mode, &receiver), "wait_mode is 3"));

    /* A newer program that set nothing new is fine. */
    newer.later = 0;
    CHECK(shmf_sender_create(name, &newer.known, &sender) == SHMF_OK);
    shmf_sender* second = NULL;
    CHECK(shmf_sender_create(name, NULL, &second) == SHMF_LIVE);
    CHECK(strstr(shmf_last_error(), "set replace in the options") != NULL);
    CHECK(second == NULL);

    /* Shapes. */
    CHECK(shmf_shape_bytes((shmf_shape){640, 480, SHMF_GRAY16}) == 640 * 480 * 2);
    CHECK(shmf_shape_bytes((shmf_shape){640, -1, SHMF_GRAY16}) == 0);
    unsigned char image[4 * 4 * 3] = {0};
    CHECK(refused(shmf_sender_publish(sender, (shmf_shape){4, 0, SHMF_BGR8}, image, 0, NULL, NULL),
                  "4x0x3 is no image"));
    CHECK(refused(shmf_sender_publish(sender, (shmf_shape){4, 4, 5}, image, 0, NULL, NULL),
                  "set format to SHMF_BGR8"));
    const shmf_shape shape = {4, 4, SHMF_BGR8};
    CHECK(refused(shmf_sender_publish(sender, shape, image, 11, NULL, NULL), "stride is 11"));
    const shmf_shape tall = {1, INT32_MAX, SHMF_GRAY8};
    CHECK(refused(shmf_sender_publish(sender, tall, image, SIZE_MAX / 2, NULL, NULL),
                  "no memory holds"));
    CHECK(refused(shmf_sender_publish(sender, shape, NULL, 0, NULL, NULL), "pixels is NULL"));
    CHECK(refused(shmf_sender_publish(NULL, shape, image, 0, NULL, NULL), "sender is NULL"));

    /* Extras. */
    shmf_extras extras = {0};
    CHECK(refused(shmf_sender_publish(sender, shape, image, 0, &extras, NULL),
                  "sizeof(shmf_extras)"));
    extras = (shmf_extras){.size = sizeof extras, .meta_len = 3};
    CHECK(refused(shmf_sender_publish(sender, shape, image, 0, &extras, NULL),
                  "meta is NULL, and meta_len is 3"));
    extras = (shmf_extras){.size = sizeof extras, .meta = image, .meta_len = SIZE_MAX};
    CHECK(refused(shmf_sender_publish(sender, shape, image, 0, &extras, NULL),
                  "which no memory has"));

    /* Loans. */
    uint64_t number = 0;
    void* pixels = image;
    CHECK(refused(shmf_sender_publish_loan(sender, NULL, &number), "no open loan"));
    shmf_sender_discard_loan(sender);
    shmf_sender_discard_loan(NULL);
    CHECK(refused(shmf_sender_loan(sender, shape, 0, NULL), "pixels is NULL"));
    CHECK(refused(shmf_sender_loan(NULL, shape, 0, &pixels), "sender is NULL"));
    CHECK(pixels == NULL);
    CHECK(shmf_sender_loan(sender, shape, 0, &pixels) == SHMF_OK);
    CHECK((uintptr_t)pixels % 8 == 0);
    CHECK(refused(shmf_sender_loan(sender, shape, 0, &pixels), "has an open loan"));
    CHECK(refused(shmf_sender_publish(sender, shape, image, 0, NULL, NULL), "has an open loan"));
    CHECK(refused(shmf_sender_tend(sender), "has an open loan"));
    CHECK(refused(shmf_sender_tend(NULL), "sender is NULL"));
    CHECK(refused(shmf_sender_publish_loan(NULL, NULL, NULL), "sender is NULL"));
    shmf_sender_discard_loan(sender);
    CHECK(shmf_sender_tend(sender) == SHMF_OK);
    CHECK(shmf_sender_publish(sender, shape, image, 0, NULL, &number) == SHMF_OK && number == 1);

    /* Receivers and frames. */
    const shmf_frame* frame = (const shmf_frame*)name;
    CHECK(shmf_receiver_open(name, NULL, &receiver) == SHMF_OK);
    CHECK(refused(shmf_receiver_receive(NULL, 0, &frame), "receiver is NULL"));
    CHECK(frame == NULL);
    CHECK(refused(shmf_receiver_receive(receiver, 0, NULL), "frame is NULL"));
    CHECK(shmf_receiver_receive(receiver, 0, &frame) == SHMF_OK);
    CHECK(frame->number == 1 && frame->via == SHMF_LEASED && frame->found);
    CHECK(frame->pixels_len == sizeof image && memcmp(frame->pixels, image, sizeof image) == 0);
    CHECK(frame->meta == NULL && frame->meta_len == 0);
    CHECK(shmf_frame_is_intact(frame));
    shmf_frame_release(frame);
    shmf_frame_release(NULL);
    CHECK(!shmf_frame_is_intact(NULL));
    CHECK(shmf_receiver_receive(receiver, 0, &frame) == SHMF_TIMEOUT && frame == NULL);
    CHECK(strcmp(shmf_last_error(), "no new frame in time") == 0);
    shmf_receiver_cancel(NULL);
    shmf_sender_destroy(sender);
    shmf_sender_destroy(NULL);
    CHECK(shmf_receiver_receive(receiver, -1, &frame) == SHMF_ENDED);
    CHECK(strcmp(shmf_last_error(), "the sender ended") == 0);
    CHECK(shmf_receiver_receive(receiver, 0, &frame) == SHMF_NO_SENDER);
    CHECK(strstr(shmf_last_error(), "start its sender") != NULL);
    shmf_receiver_destroy(receiver);
    shmf_receiver_destroy(NULL);

    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
