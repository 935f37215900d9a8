# Before 1.0 every minor version may break what the last one promised.
file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../../../include/shm_frame.h" PACKAGE_VERSION
  REGEX "^#define SHMF_VERSION ")
string(REGEX REPLACE "^.*\"(.*)\".*$" "\\1" PACKAGE_VERSION "${PACKAGE_VERSION}")
string(REGEX MATCH "^[0-9]+\\.[0-9]+" _shm_frame_has "${PACKAGE_VERSION}")
set(_shm_frame_wants "${PACKAGE_FIND_VERSION_MAJOR}.${PACKAGE_FIND_VERSION_MINOR}")
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if(_shm_frame_has VERSION_EQUAL _shm_frame_wants
    AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
unset(_shm_frame_has)
unset(_shm_frame_wants)
