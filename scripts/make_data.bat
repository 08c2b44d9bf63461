@echo off
rem A batch that makes training data, film by film. Copy it, put your films in, and run it from the project's folder.
rem Running it again finishes what is missing. Films for eval/ must be others than those for train/.
rem A film that fails or gives no records stops none of the others; the end says which.
setlocal

set TRAIN=data\video_inpaint_v1\train
set EVAL=data\video_inpaint_v1\eval
set FAILED=

call :make_records videos\shibuya.webm -o %TRAIN% --prefix shibuy1 --model-type Any_B
call :make_records videos\shibuya.webm -o %TRAIN% --prefix shibuy2 --model-type Any_L --resolution 518 --skip-first 16
call :make_records videos\factory.mp4 -o %TRAIN% --prefix factory --model-type Any_V2_S --skip-interval 120
call :make_records videos\short_clips -o %TRAIN% --prefix clips --model-type Distill_Any_S --skip-interval 0 --num-samples 2

call :make_records videos\beach.mp4 -o %EVAL% --prefix beach --model-type Any_B

if not defined FAILED exit /b 0
echo not all records were made of:%FAILED%; the reasons are above
exit /b 1

:make_records
python create_training_data.py video_inpaint --dataset-dir %*
if not "%ERRORLEVEL%"=="0" set "FAILED=%FAILED% %~1"
exit /b 0
