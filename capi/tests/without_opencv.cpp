// The wrapper does without OpenCV: this is linked with nothing but the library. And the library
// stays when it is unloaded, since the process may still need its handler of SIGBUS.
#include <dlfcn.h>

#include "check.hpp"

TEST(a_frame_crosses) {
    const TestName name;
    shm_frame::Sender sender(name);
    shm_frame::Receiver receiver(name);
    for (std::uint64_t number = 1; number < 100; ++number) {
        Checked(number).send(sender);
        CHECK(Checked(number).wrong(take(receiver)) == "");
    }
}

TEST(the_library_stays_after_dlclose) {
    void* const library = dlopen(LIBRARY, RTLD_NOW);
    CHECK(library != nullptr);
    void* const version = dlsym(library, "shmf_version");
    CHECK(version != nullptr);
    CHECK(dlclose(library) == 0);
    Dl_info info = {};
    CHECK(dladdr(version, &info) != 0);
}

int main(int argc, char** argv) { return run_tests(argc, argv); }
