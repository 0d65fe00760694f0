# SPDX-License-Identifier: Apache-2.0
# Read by cpack between installing and packing: CPACK_STRIP_FILES leaves archives as they are, with
# debug information that is most of their size and names the directory they were built in.
file(GLOB_RECURSE archives ${CPACK_TEMPORARY_DIRECTORY}/*.a)
foreach(archive IN LISTS archives)
	execute_process(COMMAND strip --strip-debug --enable-deterministic-archives ${archive}
		COMMAND_ERROR_IS_FATAL ANY)
endforeach()
