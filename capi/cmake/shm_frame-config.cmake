# find_package(shm_frame): shm_frame::shm_frame is the shared library, shm_frame::static the other.
get_filename_component(_shm_frame_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
find_path(shm_frame_INCLUDE_DIR shm_frame.h HINTS "${_shm_frame_prefix}/include" REQUIRED)
find_library(shm_frame_LIBRARY shm_frame HINTS "${_shm_frame_prefix}/lib" REQUIRED)
find_library(shm_frame_STATIC_LIBRARY libshm_frame.a HINTS "${_shm_frame_prefix}/lib")
mark_as_advanced(shm_frame_INCLUDE_DIR shm_frame_LIBRARY shm_frame_STATIC_LIBRARY)
unset(_shm_frame_prefix)

if(NOT TARGET shm_frame::shm_frame)
  add_library(shm_frame::shm_frame UNKNOWN IMPORTED)
  set_target_properties(shm_frame::shm_frame PROPERTIES
    IMPORTED_LOCATION "${shm_frame_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${shm_frame_INCLUDE_DIR}")
endif()
if(shm_frame_STATIC_LIBRARY AND NOT TARGET shm_frame::static)
  add_library(shm_frame::static STATIC IMPORTED)
  set_target_properties(shm_frame::static PROPERTIES
    IMPORTED_LOCATION "${shm_frame_STATIC_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${shm_frame_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "gcc_s;pthread;dl;m;rt;util")
endif()
